"""The capability sets of this process, by the C library's own calls (man 2 capget, man 2 prctl).

It loads ctypes, so it is imported only where a profile is applied.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

SETPCAP, SYS_ADMIN = 8, 21
_CAPBSET_READ, _CAPBSET_DROP, _SET_NO_NEW_PRIVS = 23, 24, 38
_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """One of two words: capabilities 0 to 31, and 32 to 63."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def effective(*numbers: int) -> bool:
    """All of them are in the effective set."""
    words = _read()
    return all(words[number // 32].effective >> number % 32 & 1 for number in numbers)


def drop(numbers: Iterable[int], *, bounding: bool) -> None:
    """Take them out of the effective, permitted, inheritable and ambient sets, and, if wanted, of the bounding set.

    What this kernel does not know is not there to be dropped.

    Raises:
        OSError: EPERM where the bounding set is not ours to change (CAP_SETPCAP).
    """
    numbers = tuple(numbers)
    if bounding:
        for number in numbers:
            if _libc.prctl(_CAPBSET_READ, number, 0, 0, 0) == 1:
                _checked(_libc.prctl(_CAPBSET_DROP, number, 0, 0, 0))
    words = _read()
    for number in numbers:
        mask = ~(1 << number % 32)
        words[number // 32].effective &= mask
        words[number // 32].permitted &= mask
        words[number // 32].inheritable &= mask
    # the kernel cuts the ambient set to what is left of the inheritable one
    _checked(_libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), words))


def no_new_privs() -> None:
    """From now on no exec gains rights: not by setuid, not by file capabilities. There is no way back."""
    _checked(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _read() -> ctypes.Array[_Sets]:
    words = (_Sets * 2)()
    _checked(_libc.capget(ctypes.byref(_Header(_VERSION_3, 0)), words))
    return words


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno() or errno.EINVAL
        raise OSError(number, os.strerror(number))
