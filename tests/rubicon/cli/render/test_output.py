"""Colour only on a terminal; whole lines elsewhere; nothing that a stream cannot carry."""

from __future__ import annotations

import io
import re

import pytest

from rubicon.cli.render.output import Output
from tests.rubicon.cli.conftest import terminal

CODE = re.compile(r"\x1b\[[0-9;]*m")
LONG = "word " * 60


@pytest.fixture(autouse=True)
def xterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def shown() -> str:
    """The same three things on a terminal of 40 columns."""
    with terminal(40) as (stream, text):
        output = Output(stream)
        output.line([("red ", "bold red"), (LONG, "")])
        output.wrapped([(LONG, "dim")])
        output.table(("NAME", "WHAT"), [[("a", "bold"), ("[red]not markup[/red] :smile:", "")]])
    return text()


def test_colour_on_a_terminal() -> None:
    text = shown()
    assert "\x1b[1;31mred" in text
    lines = [CODE.sub("", line) for line in text.split("\r\n")]
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].endswith("…")
    assert len(lines) > 8, "a paragraph is wrapped"
    assert "[red]not markup[/red] :smile:" in CODE.sub("", text).replace("\r\n", "").replace("      ", "")


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in shown()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown())


def test_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown()
    monkeypatch.delenv("TERM")
    assert "\x1b" not in shown()


def test_a_pipe_gets_whole_lines_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    output = Output(stream)
    output.line([("red ", "bold red"), (LONG, "")])
    output.wrapped([(LONG, "")])
    output.table(("NAME", "WHAT"), [[("longer", ""), ("x", "")], [("a", ""), ("", "")]])
    output.json({"ü": "\x1b"})
    stream.seek(0)
    assert stream.read().splitlines() == [
        "red " + LONG, LONG, "NAME    WHAT", "longer  x", "a", '{"ü": "\\u001b"}',
    ]  # fmt: skip


def test_a_stream_that_only_knows_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    output = Output(stream)
    assert output.icon("⚠", "!") == "!"
    output.text("naïve ✔")
    stream.seek(0)
    assert stream.read() == "na\\xefve \\u2714\n"


def test_an_empty_table_still_has_its_head() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    Output(stream).table(("ID", "NAME"), [])
    stream.seek(0)
    assert stream.read() == "ID  NAME\n"
