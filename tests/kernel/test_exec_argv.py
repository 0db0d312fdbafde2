"""tp_btf/sched_process_exec: the arguments, read from the new memory of the process."""

from __future__ import annotations

import pytest

from sensor.kernel.enums import Limit
from tests.kernel.watched import Watched

pytestmark = pytest.mark.root

_TRUE = "import os, sys\nos.execv('/bin/true', {argv})\n"


def _argv(watched: Watched, argv: str, before: str = "") -> tuple[list[bytes], bool, int]:
    watched.python(before + _TRUE.format(argv=argv))
    found = watched.exec_of("true").exec
    return list(found.argv), found.argv_truncated, found.argv_length


def test_exec_has_every_argument(watched: Watched) -> None:
    assert _argv(watched, "['zero', '-x', 'two words', '']") == ([b"zero", b"-x", b"two words", b""], False, 19)


def test_exec_without_any_argument(watched: Watched) -> None:
    """The kernel puts an empty argv[0] there since 5.18 (dcd46d897adb)."""
    code = "import ctypes\nctypes.CDLL(None).execve(b'/bin/true', (ctypes.c_char_p * 1)(), (ctypes.c_char_p * 1)())\n"
    watched.python(code)
    assert list(watched.exec_of("true").exec.argv) in ([], [b""])


def test_exec_keeps_bytes_that_are_no_utf8(watched: Watched) -> None:
    assert _argv(watched, r"[b'true', b'\xff\xfe\x80', b'\x1b[31m\n']")[0] == [b"true", b"\xff\xfe\x80", b"\x1b[31m\n"]


@pytest.mark.parametrize("length", [Limit.ARGV - 1, Limit.ARGV])
def test_exec_keeps_argv_whole_up_to_the_limit(watched: Watched, length: int) -> None:
    argv, truncated, whole = _argv(watched, f"['true', 'x' * {length - 6}]")
    assert (truncated, whole) == (False, length)
    assert argv == [b"true", b"x" * (length - 6)]


def test_exec_says_exactly_when_argv_is_truncated(watched: Watched) -> None:
    argv, truncated, whole = _argv(watched, f"['true', 'x' * {Limit.ARGV - 5}]")
    assert (truncated, whole) == (True, Limit.ARGV + 1)
    assert argv == [b"true", b"x" * (Limit.ARGV - 5)], "only the last NUL is missing"


def test_exec_with_argv_of_2_mb(watched: Watched) -> None:
    """An argument may have 128 kB, all of them a quarter of the stack's limit and at most 6 MB."""
    stack = "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 25, resource.RLIM_INFINITY))\n"
    argv, truncated, whole = _argv(watched, "['true', *['y' * 130000] * 17]", stack)
    assert (truncated, whole) == (True, 5 + 17 * 130001)
    assert whole > 2 << 20
    assert argv == [b"true", b"y" * (Limit.ARGV - 5)]


def test_exec_with_thousands_of_arguments(watched: Watched) -> None:
    argv, truncated, whole = _argv(watched, "['true', *map(str, range(100, 1000))]")
    assert argv == [b"true", *(str(number).encode() for number in range(100, 1000))]
    assert (truncated, whole) == (False, 5 + 900 * 4)
