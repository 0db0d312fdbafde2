"""The system call filter, built by libseccomp through pyseccomp."""

from __future__ import annotations

import ctypes
import importlib
import sys
from types import ModuleType
from typing import Protocol, cast

from rubicon.cli.launch.profile.lists import OTHER_FAMILIES, REFUSED, SOCKET_CALLS, Argument, refused_families
from rubicon.client.errors import RubiconError

_SONAMES = {"c": None, "seccomp": "libseccomp.so.2"}


class Filter(Protocol):
    """A system call filter that is ready and not yet in force."""

    def load(self) -> None:
        """Put this process, and all that it starts, under it; OSError when the kernel refuses."""


def built() -> Filter:
    """Build it; it is loaded in the child.

    Raises:
        RubiconError: libseccomp is missing, or too old for this.
    """
    seccomp = _pyseccomp()
    try:
        made = seccomp.SyscallFilter(seccomp.ALLOW)
        # whether new privileges are given up is the profile's decision, not the library's
        made.set_attr(seccomp.Attr.CTL_NNP, 0)
        # a 32-bit or x32 call would be read by the wrong table: whoever makes one is ended, with SIGSYS
        made.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
        # without this, kernels before 5.16 slow the whole tree down (speculative store bypass off, for JITs in sandboxes)
        made.set_attr(seccomp.Attr.CTL_SSB, 1)
        # load() says what the kernel said, not ECANCELED
        made.set_attr(seccomp.Attr.API_SYSRAWRC, 1)
        for call in REFUSED:
            made.add_rule_exactly(
                seccomp.ERRNO(call.errno), call.name, *(_argument(seccomp, one) for one in call.where)
            )
        for name in SOCKET_CALLS:
            for condition in refused_families():
                argument = seccomp.Arg(0, getattr(seccomp, condition.comparison), condition.number)
                made.add_rule_exactly(seccomp.ERRNO(OTHER_FAMILIES), name, argument)
    except OSError as error:
        raise RubiconError(
            f"libseccomp cannot build the launch profile's filter: {error.strerror}",
            "it needs libseccomp 2.5 or newer; --privileged runs CMD without the profile",
        ) from error
    return cast(Filter, made)


def _argument(seccomp: ModuleType, argument: Argument) -> object:
    comparison = getattr(seccomp, argument.comparison)
    if argument.mask:
        return seccomp.Arg(argument.place, comparison, argument.mask, argument.number)
    return seccomp.Arg(argument.place, comparison, argument.number)


def _pyseccomp() -> ModuleType:
    """Import it without the search that it would begin with.

    It looks for its two libraries by ctypes.util.find_library, which starts ldconfig twice and loads 15 modules for
    that: 60 ms, where the import itself takes 1. Both have one name on every Linux, so a stand-in says it.
    """
    try:
        ctypes.CDLL(_SONAMES["seccomp"])
    except OSError as error:
        raise RubiconError(
            "libseccomp.so.2 is missing, and the launch profile needs it",
            "apt-get install libseccomp2; --privileged runs CMD without the profile",
        ) from error
    if "pyseccomp" in sys.modules or "ctypes.util" in sys.modules:
        return importlib.import_module("pyseccomp")
    stand_in = ModuleType("ctypes.util")
    vars(stand_in)["find_library"] = _SONAMES.__getitem__
    sys.modules["ctypes.util"] = vars(ctypes)["util"] = stand_in
    try:
        return importlib.import_module("pyseccomp")
    finally:
        del sys.modules["ctypes.util"], vars(ctypes)["util"]
