"""The kernel side seen from Python: loads bpf/*.bpf.o, keeps links and maps pinned, reads the ring.

`loader.Kernel` is the door; nothing above this folder opens a map or calls bpf(2).
"""
