"""One host for all of these tests: plane and sensor are up, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.adversary.field import Container
from tests.e2e.host import Host
from tests.soak.stand import stand


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Plane and sensor of an instance of these tests' own."""
    with stand() as made:
        yield made


@pytest.fixture(scope="module")
def container(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Container:
    """A container under deploy/profile, of which every run is an agent of the host."""
    folder: Path = tmp_path_factory.mktemp("bundle")
    return Container(host, folder)
