"""Why the kernel side could not start, as one branch of the sensor's tree.

    StartFailed
    └── KernelError
        ├── MissingPrivileges     not root, or without a capability that bpf(2) asks for
        ├── LockedDown            lockdown=confidentiality forbids reading kernel memory
        ├── NoKernelTypes         no BTF: the objects cannot be fitted to this kernel
        ├── NoCgroup2             no cgroup v2 hierarchy is mounted
        ├── NoBpffs               no bpf file system, and none could be mounted
        ├── NoLibbpf              libbpf.so.1 or the objects are not there
        ├── NothingLoads          the kernel refused every object, or one that nothing works without
        └── KernelAbiMismatch     what is pinned, or built, has another layout than this sensor

Each message ends with what to do.
"""

from __future__ import annotations

from sensor.errors import StartFailed


class KernelError(StartFailed):
    """The kernel side cannot be used on this host as it is set up."""


class MissingPrivileges(KernelError):
    """bpf(2) is refused to this process."""


class LockedDown(KernelError):
    """The kernel's lockdown mode forbids what the hooks must read."""


class NoKernelTypes(KernelError):
    """The running kernel has no BTF."""


class NoCgroup2(KernelError):
    """There is no cgroup v2 hierarchy in this mount namespace."""


class NoBpffs(KernelError):
    """There is no bpf file system for the pins."""


class NoLibbpf(KernelError):
    """The host's libbpf or the compiled objects are missing."""


class NothingLoads(KernelError):
    """The kernel refuses what nothing works without."""


class KernelAbiMismatch(KernelError):
    """Records or map values have another layout than the decoder was generated for."""


class ObjectRefused(KernelError):
    """One object does not load here; the loader turns it into a gap in coverage."""
