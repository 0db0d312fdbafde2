"""What every test shares: the turn of root tests, an instance of the test's own, and what happens without root."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator

import pytest

from rubicon.v1.instance import Instance
from tests.needs import skip_what_is_missing
from tests.turns import recorded, turn


def pytest_configure() -> None:
    """Under nohup or as a shell's background job signals are ignored, and would be in all that the tests start."""
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of hooks that this kernel has not are skipped."""
    if not config.option.collectonly:
        skip_what_is_missing(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `root` are skipped for others; with REQUIRE_ROOT=1, as CI sets it, that is a failure."""
    if item.get_closest_marker("root") and os.geteuid():
        if os.environ.get("REQUIRE_ROOT") == "1":
            pytest.fail("this test needs root, and REQUIRE_ROOT=1 forbids skipping it", pytrace=False)
        pytest.skip("needs root")


@pytest.fixture
def root_lock() -> Iterator[None]:
    """Tests that load programs into the kernel take turns, also between two runs at once."""
    with turn():
        yield


@pytest.fixture
def instance(root_lock: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """An instance that nobody else has, in RUBICON_INSTANCE too; everything of it is gone afterwards."""
    monkeypatch.setenv("RUBICON_INSTANCE", f"t-{os.getpid()}-{secrets.token_hex(3)}")
    made = Instance.current()
    with recorded(made):
        made.state_dir.mkdir(mode=0o700, parents=True)
        yield made
