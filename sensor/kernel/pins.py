"""What is in force, as files in a bpf file system: <bpffs>/INSTANCE/{maps,links}/NAME, and one folder abi-DIGEST.

The folder's name says which layouts the maps and the records in the ring have. It is made before the first map, so that a
crash at any moment leaves a state that the next start can judge.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sensor.kernel import bpf
from sensor.kernel.errors import KernelAbiMismatch

_NEW = "-new"  # bpffs refuses a name with a dot


class Pins:
    """The pins of one instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.maps = folder / "maps"
        self.links = folder / "links"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Two that open the same instance at once take turns: the second finds all that the first attached."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def prepare(self, digest: str) -> None:
        """Make the folders, and put in order what a crash left half-made.

        Raises:
            KernelAbiMismatch: what is pinned was made by a sensor with other layouts.
        """
        for path in (self.folder, self.maps, self.links):
            path.mkdir(mode=0o700, exist_ok=True)
        if not any(self.maps.iterdir()) and not any(self.links.iterdir()):
            # a start that came no further than this: nothing has these layouts
            for each in self.folder.glob("abi-*"):
                each.rmdir()
        there = [each.name.removeprefix("abi-") for each in self.folder.glob("abi-*")]
        if any(each != digest for each in there):
            raise KernelAbiMismatch(
                f"what is in force at {self.folder} has layout {', '.join(there)}, this sensor has {digest}: "
                "run `rubicon down` and start again (running agents are then no longer watched)"
            )
        if not there:
            (self.folder / f"abi-{digest}").mkdir(mode=0o700)
        for left in self.links.glob(f"*{_NEW}"):
            # the crash came between pinning a new link and letting it take the old one's place
            old = left.with_name(left.name.removesuffix(_NEW))
            if old.exists():
                left.unlink()
            else:
                left.rename(old)

    def map(self, name: str) -> int | None:
        """A descriptor of a pinned map; None where there is none."""
        return self._opened(self.maps / name)

    def link(self, name: str) -> int | None:
        """A descriptor of a pinned link; None where there is none."""
        return self._opened(self.links / name)

    def put_link(self, name: str, fd: int) -> None:
        """Pin a link; one that has the name already is in force until the new one is, and then no longer."""
        target = self.links / name
        if not target.exists():
            bpf.pin(fd, str(target))
            return
        fresh = target.with_name(name + _NEW)
        bpf.pin(fd, str(fresh))
        target.unlink()
        fresh.rename(target)

    def drop_link(self, name: str) -> bool:
        """Unpin a link, which detaches it unless a descriptor holds it; False where there is none."""
        try:
            (self.links / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def has_link(self, name: str) -> bool:
        """A link of this name is pinned."""
        return (self.links / name).exists()

    def link_names(self) -> list[str]:
        """Names of all pinned links."""
        return sorted(each.name for each in self.links.iterdir())

    def remove(self) -> None:
        """Remove every pin: links first, so that no hook runs while maps go."""
        for folder in (self.links, self.maps):
            for each in folder.iterdir() if folder.is_dir() else ():
                each.unlink(missing_ok=True)  # a sensor that is just ending may drop one itself
        for folder in [self.links, self.maps, *self.folder.glob("abi-*"), self.folder]:
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()

    @staticmethod
    def _opened(path: Path) -> int | None:
        try:
            return bpf.pinned(str(path))
        except FileNotFoundError:
            return None


def same_program(link: int, program: int, shared: frozenset[int]) -> bool:
    """Does a link run this very program: the same instructions, on the same shared maps?"""
    running = bpf.program_by_id(bpf.link_info(link).program)
    try:
        old, new = bpf.program_info(running), bpf.program_info(program)
    finally:
        os.close(running)
    return old.tag == new.tag and old.maps & shared == new.maps & shared
