"""One host for the tests of a file: plane and sensor are up, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.host import Host
from tests.e2e.tunnel import Server, serving
from tests.turns import recorded, turn


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make golden` records the detectors' samples anew."""
    parser.addoption("--golden", action="store_true", help="write the detectors' samples and golden alerts")


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--golden", default=False))


@pytest.fixture(scope="module")
def own_host() -> Iterator[Host]:
    """An instance where nothing runs yet; whatever the test left of it is gone afterwards."""
    made = Host()
    with turn(), recorded(made.instance):
        yield made
        made.rubicon("down", "--yes")


@pytest.fixture(scope="module")
def host(own_host: Host) -> Host:
    """The same, up."""
    done = own_host.rubicon("up")
    assert done.returncode == 0, done.stderr
    return own_host


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The far end of tunnels."""
    with serving() as server:
        yield server
