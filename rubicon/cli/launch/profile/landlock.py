"""Landlock (landlock(7)): what a seccomp filter cannot say, because it depends on whom a call is about.

One rule: no signals to processes outside the agent's tree, whoever they belong to (Linux 6.12). The daemons are root's, and so
may be the agent. With it the kernel also refuses to trace, or to read the /proc files of, whoever is outside.
"""

from __future__ import annotations

import ctypes
import errno
import os

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
"""System calls' numbers, the same on every architecture."""
_VERSION, _SCOPE_SIGNAL = 1, 1 << 1
_SCOPES_SINCE = 6

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def available() -> bool:
    """This kernel can keep signals inside a tree."""
    return int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)) >= _SCOPES_SINCE


def restrict() -> None:
    """Put this process, and all that it starts, under the rule; nothing where the kernel has none.

    Raises:
        OSError: EPERM without no_new_privs and without CAP_SYS_ADMIN.
    """
    if not available():
        return
    rules = _Ruleset(0, 0, _SCOPE_SIGNAL)
    descriptor = _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(ctypes.sizeof(rules)), 0))
    try:
        _checked(_libc.syscall(_RESTRICT_SELF, descriptor, 0))
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.EINVAL
        raise OSError(number, os.strerror(number))
    return result
