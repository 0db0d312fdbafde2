"""Every `rubicon …` that a page shows is one that the command line takes."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rubicon.cli.main import rubicon
from tests.docs.pages import blocks, inline, name, pages

PROMPT = re.compile(r"^\s*(?:[$#] )?(?:sudo )?(?:RUBICON_INSTANCE=\S+ )?(?:\S*/)?(?=rubicon )")
END = {">", ">>", "|", "||", "&&", "&", ";", "<"}


def lines(page: Path) -> Iterator[str]:
    """Command lines in blocks, without prompt and sudo."""
    for block in blocks(page):
        for line in block.text.splitlines():
            if PROMPT.match(line) and not line.lstrip().startswith("#!"):
                yield line


def words(text: str) -> list[str]:
    """The arguments of a `rubicon` command line, up to where the shell's own signs begin."""
    found = shlex.split(PROMPT.sub("", text, count=1), comments=True)[1:]
    for place, word in enumerate(found):
        if word == "--":
            break
        if word in END:
            return found[:place]
    return found


def parse(arguments: list[str]) -> None:
    """Parse as the command line would, and run nothing.

    Raises:
        click.UsageError: it would be refused.
    """
    # with its settings: a command keeps the help option of the first context that it is asked in
    group = click.Context(rubicon, info_name="rubicon", **rubicon.context_settings)
    _, command, rest = rubicon.resolve_command(group, arguments)
    assert command
    with contextlib.suppress(click.exceptions.Exit):  # --help
        context = command.make_context(arguments[0], rest, parent=group)
        if isinstance(command, click.Group):
            name, inner, rest = command.resolve_command(context, rest)
            assert inner
            inner.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_commands_in_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an option that names a file opens it
    for line in lines(page):
        arguments = words(line)
        if not arguments or arguments[0].startswith("-"):
            continue
        try:
            parse(arguments)
        except click.UsageError as error:
            pytest.fail(f"{name(page)}: {line.strip()}: {error.message}")


@pytest.mark.parametrize("page", pages(), ids=name)
def test_commands_in_the_text(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in inline(page):
        if not PROMPT.match(text):
            continue
        arguments = words(text)
        if not arguments or arguments[0].startswith("-"):
            continue
        try:
            parse(arguments)
        except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
            pass  # named without its argument, or its command
        except click.UsageError as error:
            pytest.fail(f"{name(page)}: `{text}`: {error.message}")


def test_there_is_something_to_look_at() -> None:
    shown = {words(line)[0] for page in pages() for line in lines(page) if words(line)}
    assert {"run", "up", "down", "ps", "tree", "events", "alerts", "kill", "doctor"} <= shown


def test_what_does_not_exist_is_found() -> None:
    with pytest.raises(click.UsageError):
        parse(["kill", "--gently", "x"])
    with pytest.raises(click.UsageError):
        parse(["explode"])
    with pytest.raises(click.UsageError):
        parse(["audit", "explode"])
    with pytest.raises(click.UsageError):
        parse(["audit", "show"])
