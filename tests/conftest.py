"""What every test shares: the lock of root tests, and what happens without root."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

LOCK = Path("/run/lock/rubicon-tests.lock")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `root` are skipped for others; with REQUIRE_ROOT=1, as CI sets it, that is a failure."""
    if item.get_closest_marker("root") and os.geteuid():
        if os.environ.get("REQUIRE_ROOT") == "1":
            pytest.fail("this test needs root, and REQUIRE_ROOT=1 forbids skipping it", pytrace=False)
        pytest.skip("needs root")


@pytest.fixture
def root_lock() -> Iterator[None]:
    """Tests that load programs into the kernel take turns, also between two runs at once."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
