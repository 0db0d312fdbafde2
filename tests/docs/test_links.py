"""Links lead somewhere, and what a page names exists: files, tests, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY, inline, name, pages, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TOP = "bpf|sensor|controlplane|rubicon|tests|bench|deploy|docs|examples|proto"
PATH = re.compile(rf"(?:{TOP})/[\w./*-]+|[A-Z]\w+\.md")
TEST = re.compile(r"test_\w+")
PLACEHOLDER = re.compile(r"NAME|/ID\b|\bX\b")


@pytest.fixture(scope="module")
def tests_by_name() -> set[str]:
    found: set[str] = set()
    for path in (REPOSITORY / "tests").rglob("*.py"):
        found |= set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M))
    return found


def headings(page: Path) -> Iterator[str]:
    """Anchors of a page, as forges make them."""
    for title in re.findall(r"^#+ (.+)$", page.read_text(), re.M):
        yield re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_relative_link_resolves(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name(page)}: {target}"
        assert found.is_relative_to(REPOSITORY), f"{name(page)}: {target} leaves the repository"
        assert not anchor or anchor in headings(found), f"{name(page)}: no heading {anchor!r} in {name(found)}"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    for word in inline(page):
        if PATH.fullmatch(word) and not PLACEHOLDER.search(word):
            assert list(REPOSITORY.glob(word.rstrip("/"))), f"{name(page)}: {word}"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_test_that_is_named_exists(page: Path, tests_by_name: set[str]) -> None:
    for word in inline(page):
        if TEST.fullmatch(word):
            assert word in tests_by_name, f"{name(page)}: {word}"
