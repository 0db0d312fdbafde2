"""Ids to paths on the real cgroup hierarchy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensor.collect.cgroup_path import CgroupPaths, mount_point


@pytest.fixture
def paths() -> Iterator[CgroupPaths]:
    paths = CgroupPaths()
    yield paths
    paths.close()


@pytest.mark.root
def test_a_cgroup_is_found_by_its_id_and_forgotten_when_it_is_gone(paths: CgroupPaths) -> None:
    root = mount_point()
    assert root is not None
    assert paths.path(root.stat().st_ino) == "/"
    name = f"rubicon-t-path-{os.getpid()}"
    folder = root / name / "sub folder"
    try:
        folder.mkdir(parents=True)
        number = folder.stat().st_ino
        assert paths.path(number) == f"/{name}/sub folder"
    finally:
        folder.rmdir()
        folder.parent.rmdir()
    assert paths.path(number) == ""


@pytest.mark.root
def test_an_id_that_is_none_has_no_path(paths: CgroupPaths) -> None:
    assert paths.path(2**60 + 12345) == ""
    paths.close()
    assert paths.path(1) == ""


def test_the_mount_is_read_from_mountinfo() -> None:
    found = mount_point()
    assert found is None or (Path(found) / "cgroup.procs").exists()
