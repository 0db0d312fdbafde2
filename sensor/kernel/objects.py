"""Loading the objects: which build of each, joined by the pinned maps, one refusal costing that object only."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from sensor.kernel import abi, bpf, host, layout
from sensor.kernel.btf import Btf
from sensor.kernel.errors import KernelAbiMismatch, ObjectRefused
from sensor.kernel.libbpf import LoadedObject
from sensor.kernel.pins import Pins
from sensor.kernel.programs import SHARED_MAPS, Object

FOLDER = Path(__file__).parent / "objects"
NO_FETCH = "no_fetch"
"""Folder of the builds with RUBICON_NO_FETCH, for kernels without atomic fetch (before 5.12)."""


@dataclass(slots=True)
class Loaded:
    """The objects that the kernel took, and its reasons for the others."""

    objects: dict[str, LoadedObject] = field(default_factory=dict)
    programs: dict[str, int] = field(default_factory=dict)
    maps: dict[str, int] = field(default_factory=dict)
    """Shared maps; the descriptors belong to the objects."""
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> frozenset[int]:
        """Ids of the shared maps."""
        return frozenset(bpf.map_info(fd).id for fd in self.maps.values())

    def refuse(self, name: str, reason: str) -> None:
        """Give an object up."""
        self.refused[name] = reason
        found = self.objects.pop(name, None)
        if found:
            found.close()

    def close(self) -> None:
        """Let go of all; what is pinned stays."""
        for each in self.objects.values():
            each.close()
        self.objects.clear()


class Loader:
    """Loads one instance's objects."""

    def __init__(self, pins: Pins, entries: dict[str, int]) -> None:
        """`entries` are sizes of shared maps where they are made; a map that is pinned keeps its own."""
        self._pins = pins
        self._entries = {name: self._existing(name) or count for name, count in entries.items()}
        self._folder = FOLDER if host.has_atomic_fetch() else FOLDER / NO_FETCH
        self.loaded = Loaded()

    def load(self, entry: Object) -> bool:
        """Load one object; False, with the reason kept, when the kernel refuses it.

        Raises:
            KernelAbiMismatch: the object, or a map that it should share, has another layout.
            NoLibbpf: the host's libbpf or the file is missing.
        """
        path = self._folder / f"{entry.name}.bpf.o"
        try:
            found = LoadedObject(path)
        except ObjectRefused as error:
            self.loaded.refuse(entry.name, str(error))
            return False
        try:
            self._check(path)
            found.prepare(self._pins.maps, SHARED_MAPS, self._entries)
            for program in entry.programs:
                if program.program_type:
                    found.set_type(program.name, program.program_type, program.attach_type)
            found.load()
        except ObjectRefused as error:
            found.close()
            if "parameter mismatch" in str(error):
                raise KernelAbiMismatch(
                    f"{entry.name}: a pinned map at {self._pins.maps} has another shape ({error}): run `rubicon down` first"
                ) from None
            self.loaded.refuse(entry.name, str(error))
            return False
        except BaseException:
            found.close()
            raise
        self.loaded.objects[entry.name] = found
        self.loaded.programs.update(found.programs())
        for each in found.maps():
            if each.name in SHARED_MAPS:
                self.loaded.maps.setdefault(each.name, each.fd)
        return True

    def _check(self, path: Path) -> None:
        try:
            digest = layout.digest(Btf.of_object(path))
        except (ValueError, LookupError, RecursionError, struct.error) as error:
            raise KernelAbiMismatch(
                f"{path} has no types that can be read ({error}): build it again (make bpf)"
            ) from None
        if digest != abi.DIGEST:
            raise KernelAbiMismatch(
                f"{path} has layout {digest}, the decoder {abi.DIGEST}: build and generate again (make bpf generate)"
            )

    def _existing(self, name: str) -> int:
        try:
            fd = self._pins.map(name)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise
            return 0
        if fd is None:
            return 0
        try:
            return bpf.map_info(fd).max_entries
        finally:
            os.close(fd)
