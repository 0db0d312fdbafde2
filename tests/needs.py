"""Which hooks this kernel has: a test marked `needs("destroy")` is skipped, with the kernel's reason, where that is missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable

import pytest

from rubicon.v1.instance import Instance
from tests.turns import recorded, turn

KERNEL = tuple(map(int, platform.release().split(".")[:2]))
"""Major and minor. Only for tests of what a kernel must have from a version on, so that what a change has broken is no skip."""


def skip_what_is_missing(items: Iterable[pytest.Item]) -> None:
    """The kernel is asked once a run, and only where some test has the mark. That it refuses nothing which it should have is
    `test_a_kernel_refuses_only_what_is_younger`."""
    wanted = [(item, fact) for item in items for marker in item.iter_markers("needs") for fact in marker.args]
    if not wanted or os.geteuid():
        return
    missing = _missing()
    for item, fact in wanted:
        if fact in missing:
            item.add_marker(pytest.mark.skip(reason=f"{fact}: {missing[fact]}"))


def _missing() -> dict[str, str]:
    from sensor.kernel.loader import Kernel
    from sensor.kernel.settings import KernelSettings

    instance = Instance(f"rubicon-t-{os.getpid()}-needs")
    with turn(), recorded(instance):
        kernel = Kernel.open(instance, KernelSettings())
        kernel.close()
        return {fact.fact: fact.missing for fact in kernel.coverage if fact.state == "missing"}
