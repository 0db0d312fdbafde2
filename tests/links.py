"""What is attached in the kernel, by link id."""

from __future__ import annotations

import json
import os
import subprocess

from rubicon.v1.instance import Instance
from sensor.kernel import bpf, host


def every_link() -> set[int]:
    """Of this kernel."""
    done = subprocess.run(["bpftool", "link", "list", "-j"], capture_output=True, check=True)
    return {link["id"] for link in json.loads(done.stdout or "[]")}


def pinned_links(instance: Instance) -> set[int]:
    """Of one instance; none where it has no pins."""
    bpffs, found = host.bpffs(), set()
    folder = bpffs / instance.name / "links" if bpffs else None
    for pin in folder.iterdir() if folder and folder.exists() else ():
        fd = bpf.pinned(str(pin))
        found.add(bpf.link_info(fd).id)
        os.close(fd)
    return found
