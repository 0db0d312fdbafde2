"""What is attached in the kernel, by link id."""

from __future__ import annotations

import json
import os
import subprocess

from rubicon.v1.instance import Instance
from sensor.kernel import bpf, host
from sensor.kernel.loader import Kernel


def every_link() -> set[int]:
    """Of this kernel."""
    done = subprocess.run(["bpftool", "link", "list", "-j"], capture_output=True, check=True)
    return {link["id"] for link in json.loads(done.stdout or "[]")}


def programs_of_nobody(before: set[int], kernel: Kernel) -> set[int]:
    """Ids of programs that came since, and are not this kernel side's.

    The kernel gives a link's id up before it detaches it, and lets go of its program after that: who waits for the program
    knows that the hook is off.
    """
    return set(bpf.program_ids()) - before - {identity for kind, identity in kernel.upkeep.ours() if kind == "prog"}


def pinned_links(instance: Instance) -> set[int]:
    """Of one instance; none where it has no pins."""
    bpffs, found = host.bpffs(), set()
    folder = bpffs / instance.name / "links" if bpffs else None
    for pin in folder.iterdir() if folder and folder.exists() else ():
        fd = bpf.pinned(str(pin))
        found.add(bpf.link_info(fd).id)
        os.close(fd)
    return found
