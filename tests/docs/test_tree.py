"""What the house rules say of files and words."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from controlplane import detectors
from tests.docs.pages import REPOSITORY, name, pages, rows

SOURCE = {".py", ".c", ".h", ".sh"}
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
LONGEST = 400
ARCHITECTURE = 300
# in two parts, so that this file does not name what it looks for
HOSTS = [
    first + second for first, second in (("pypi", ".org"), ("npmjs", ".org"), ("crates", ".io"), ("docker", ".io"))
]
MACHINE = re.compile(r"(?<![\w.])/" + r"(?:work|workspace|home/\w+)/")
UNFINISHED = re.compile(r"under " + r"construction|coming " + r"soon|\bT" + r"ODO\b", re.I)


def tracked() -> list[Path]:
    """Files that git knows; where there is no git, those that are there."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    names = done.stdout.decode().split("\0") if done.returncode == 0 else []
    found = [REPOSITORY / each for each in names if each] or [path for path in REPOSITORY.rglob("*") if path.is_file()]
    return [path for path in found if path.is_file()]


def test_no_source_file_is_too_long() -> None:
    long = [
        f"{name(path)}: {count}"
        for path in tracked()
        if path.suffix in SOURCE and not GENERATED.search(path.name)
        if (count := len(path.read_text().splitlines())) > LONGEST
    ]
    assert long == []


def test_the_map_stays_a_map() -> None:
    assert len((REPOSITORY / "ARCHITECTURE.md").read_text().splitlines()) < ARCHITECTURE


@pytest.mark.parametrize("page", pages(), ids=name)
def test_pages_name_no_machine_and_no_registry(page: Path) -> None:
    text = page.read_text()
    assert [host for host in HOSTS if host in text] == []
    assert MACHINE.findall(text) == []
    assert UNFINISHED.findall(text) == []


def test_every_detector_has_its_page_and_every_page_its_detector() -> None:
    known = {module.DETECTOR.id for module in detectors.load()}
    assert {page.stem for page in (REPOSITORY / "docs/detectors").glob("*.md")} == known


def test_every_library_has_its_reason() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    needed = {re.split(r"[<>=\[]", each)[0] for each in wanted}
    told = {each for row in rows(REPOSITORY / "docs/decisions/0002-libraries.md") for each in row[0].split(", ")}
    assert needed - told == set(), "add a line to docs/decisions/0002-libraries.md"
    assert told - needed - {"at run time", "to develop"} == set(), "pyproject.toml does not need them"


def test_every_decision_is_listed() -> None:
    folder = REPOSITORY / "docs/decisions"
    listed = re.findall(r"\(([^)]+\.md)\)", (folder / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in folder.glob("0*.md"))
