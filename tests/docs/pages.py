"""The pages that people read, as the tests of this folder look at them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
_SKIPPED = {".venv", "build", "dist", ".git", "node_modules"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_INDENTED = re.compile(r"(?:^ {4}\S.*\n?)+", re.M)


class Block(NamedTuple):
    """A block of code; `language` is empty for an indented one."""

    page: Path
    language: str
    text: str


def pages() -> list[Path]:
    """Every Markdown page of the repository, sorted."""
    found = [path for path in REPOSITORY.rglob("*.md") if not _SKIPPED & set(path.relative_to(REPOSITORY).parts)]
    return sorted(path for path in found if not any(part.endswith(".egg-info") for part in path.parts))


def name(page: Path) -> str:
    """A page's path below the repository's root."""
    return str(page.relative_to(REPOSITORY))


def blocks(page: Path) -> Iterator[Block]:
    """Fenced blocks, then indented ones."""
    text = page.read_text()
    for language, body in _FENCE.findall(text):
        yield Block(page, language, body)
    for match in _INDENTED.finditer(_FENCE.sub("", text)):
        yield Block(page, "", match.group())


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _INDENTED.sub("", _FENCE.sub("", page.read_text()))


def inline(page: Path) -> list[str]:
    """What stands between backticks."""
    return [each.replace("\n", " ") for each in re.findall(r"`([^`]+)`", prose(page))]


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of every table row."""
    for line in page.read_text().splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]
