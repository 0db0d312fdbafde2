"""Write vmlinux.h, the running kernel's types as C, from its BTF.

The host's libbpf does the work (btf_dump), so a build needs no bpftool, which Debian and Ubuntu package differently.

    python3 bpf/vmlinux.py build/vmlinux.h
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

BTF = Path("/sys/kernel/btf/vmlinux")
HEAD = """#ifndef __VMLINUX_H__
#define __VMLINUX_H__
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif
"""
TAIL = """#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif
#endif
"""
PRINTF = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


def dump() -> str:
    """All types of the running kernel as one C header.

    Raises:
        OSError: no BTF, or no libbpf.so.1 (Debian and Ubuntu: apt install libbpf1).
    """
    if not BTF.exists():
        raise OSError(f"{BTF} is missing: this kernel was built without CONFIG_DEBUG_INFO_BTF")
    bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    libc = ctypes.CDLL(None)
    bpf.btf__parse.restype = ctypes.c_void_p
    bpf.btf_dump__new.restype = ctypes.c_void_p
    bpf.btf_dump__new.argtypes = [ctypes.c_void_p, PRINTF, ctypes.c_void_p, ctypes.c_void_p]
    bpf.btf__type_cnt.argtypes = [ctypes.c_void_p]
    bpf.btf_dump__dump_type.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    libc.vsnprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    btf = bpf.btf__parse(os.fsencode(BTF), None)
    if not btf:
        raise OSError(ctypes.get_errno(), f"libbpf could not read {BTF}")
    parts: list[bytes] = []
    buffer = ctypes.create_string_buffer(65536)

    def collect(_context: int, template: bytes, arguments: int) -> None:
        libc.vsnprintf(buffer, len(buffer), template, arguments)
        parts.append(buffer.value)

    callback = PRINTF(collect)
    dumper = bpf.btf_dump__new(btf, callback, None, None)
    if not dumper:
        raise OSError(ctypes.get_errno(), "libbpf could not start a BTF dump")
    for identity in range(1, bpf.btf__type_cnt(btf)):
        if bpf.btf_dump__dump_type(dumper, identity):
            raise OSError(f"libbpf could not dump BTF type {identity}")
    return HEAD + b"".join(parts).decode() + TAIL


def main() -> None:
    """Write the header to the path in argv[1], whole or not at all."""
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(dump())
    partial.replace(target)


if __name__ == "__main__":
    main()
