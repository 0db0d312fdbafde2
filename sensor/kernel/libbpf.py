"""The host's libbpf.so.1 through ctypes: opens an object, fits it to this kernel (CO-RE), loads it. Nothing else of it is used.

libbpf1 is on every Debian and Ubuntu (iproute2 needs it), so the wheel carries no native code but the objects.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sensor.kernel.errors import NoLibbpf, ObjectRefused

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_log: list[str] = []
_KEPT_LINES = 4000


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A map of a loaded object. Its descriptor belongs to the object."""

    name: str
    fd: int


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise NoLibbpf(
            f"libbpf.so.1 cannot be loaded ({error}): install it (Debian, Ubuntu: apt install libbpf1)"
        ) from None
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "bpf_object__open_file": (pointer, [text, pointer]),
        "bpf_object__load": (number, [pointer]),
        "bpf_object__close": (None, [pointer]),
        "bpf_object__next_map": (pointer, [pointer, pointer]),
        "bpf_object__next_program": (pointer, [pointer, pointer]),
        "bpf_map__name": (text, [pointer]),
        "bpf_map__fd": (number, [pointer]),
        "bpf_map__set_pin_path": (number, [pointer, text]),
        "bpf_map__set_max_entries": (number, [pointer, ctypes.c_uint32]),
        "bpf_program__name": (text, [pointer]),
        "bpf_program__fd": (number, [pointer]),
        "bpf_program__set_type": (number, [pointer, number]),
        "bpf_program__set_expected_attach_type": (number, [pointer, number]),
        "libbpf_set_print": (pointer, [_PRINT]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(_collect)
    return library


def _format() -> Callable[[int, bytes, int], str]:
    libc = ctypes.CDLL(None)
    libc.vsnprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    buffer = ctypes.create_string_buffer(1 << 16)

    def formatted(_: int, template: bytes, arguments: int) -> str:
        libc.vsnprintf(buffer, len(buffer), template, arguments)
        return buffer.value.decode(errors="replace")

    return formatted


_formatted = _format()


def _on_print(level: int, template: bytes, arguments: int) -> int:
    if level < 2:  # warnings and information; debugging lines by the thousand are dropped
        _log.append(_formatted(level, template, arguments))
        del _log[:-_KEPT_LINES]
    return 0


_collect = _PRINT(_on_print)


class LoadedObject:
    """One object, opened; `load` puts it into the kernel. Everything is the process's own until it is pinned."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            NoLibbpf: no library or no such file.
            ObjectRefused: no BPF object.
        """
        self._library = _library()
        self.path = path
        if not path.exists():
            raise NoLibbpf(f"{path} is missing: build it (make bpf) or install the wheel again")
        _log.clear()
        self._object = self._library.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise ObjectRefused(f"{path.name}: {self._why('libbpf cannot read it')}")

    def prepare(self, pins: Path, shared: tuple[str, ...], entries: dict[str, int]) -> None:
        """Say where shared maps are pinned, and how large they are where they are made."""
        for handle, name in self._maps():
            if name in shared:
                self._library.bpf_map__set_pin_path(handle, os.fsencode(pins / name))
            if name in entries:
                self._library.bpf_map__set_max_entries(handle, entries[name])

    def set_type(self, program: str, program_type: int, attach_type: int) -> None:
        """Give a program the type that its section's name does not tell this libbpf."""
        for handle, name in self._programs():
            if name == program:
                self._library.bpf_program__set_type(handle, program_type)
                self._library.bpf_program__set_expected_attach_type(handle, attach_type)

    def load(self) -> None:
        """Load it.

        Raises:
            ObjectRefused: the kernel refuses it; the message has the kernel's reason.
        """
        _log.clear()
        result = self._library.bpf_object__load(self._object)
        if result:
            raise ObjectRefused(self._why(os.strerror(-result)))

    def programs(self) -> dict[str, int]:
        """Descriptors by function name; they belong to the object."""
        return {name: self._library.bpf_program__fd(handle) for handle, name in self._programs()}

    def maps(self) -> list[LoadedMap]:
        """All maps."""
        return [LoadedMap(name, self._library.bpf_map__fd(handle)) for handle, name in self._maps()]

    def close(self) -> None:
        """Let go of it: what is neither pinned nor attached disappears."""
        if self._object:
            self._library.bpf_object__close(self._object)
            self._object = None

    def _maps(self) -> Iterator[tuple[int, str]]:
        handle = self._library.bpf_object__next_map(self._object, None)
        while handle:
            yield handle, self._library.bpf_map__name(handle).decode()
            handle = self._library.bpf_object__next_map(self._object, handle)

    def _programs(self) -> Iterator[tuple[int, str]]:
        handle = self._library.bpf_object__next_program(self._object, None)
        while handle:
            yield handle, self._library.bpf_program__name(handle).decode()
            handle = self._library.bpf_object__next_program(self._object, handle)

    def _why(self, otherwise: str) -> str:
        """The line of libbpf's and the verifier's output that says most."""
        lines = [line.strip() for part in _log for line in part.splitlines() if line.strip()]
        verdict = ""
        for index, line in enumerate(lines):
            if line.startswith("processed ") and index:
                verdict = lines[index - 1]
            elif "parameter mismatch" in line or "unknown func" in line or "invalid func" in line:
                verdict = line
        if not verdict:
            # the first names the function, tracepoint or type that this kernel has not; the others repeat that it failed
            warnings = [
                line for line in lines if line.startswith("libbpf:") and ("not found" in line or "failed" in line)
            ]
            verdict = warnings[0] if warnings else ""
        return f"{otherwise} ({verdict.removeprefix('libbpf: ')[:300]})" if verdict else otherwise
