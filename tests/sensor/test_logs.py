"""Logs: JSON with host and agent, and nothing in them that a terminal would obey."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from sensor import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    stream = io.StringIO()
    logs.configure("here", stream=stream)
    yield stream
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_a_line_is_json_with_host_and_agent(stream: io.StringIO) -> None:
    structlog.get_logger(part="act").info("agent ended", agent="0000000000aa")
    line = json.loads(stream.getvalue())
    assert (line["host"], line["agent"], line["event"], line["level"]) == (
        "here",
        "0000000000aa",
        "agent ended",
        "info",
    )


def test_escape_codes_are_neutralised(stream: io.StringIO) -> None:
    structlog.get_logger().info(
        "name \x1b[31m", argv=["\x1b]0;x\x07", b"\xff\x9b"], pair={"\x7f": "\u202e"}, bad="\ud800"
    )
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\\u001b" not in text
    line = json.loads(text)
    assert line["event"] == "name \\x1b[31m"
    assert line["argv"] == ["\\x1b]0;x\\x07", "\\xff\\x9b"]
    assert line["pair"] == {"\\x7f": "\\u202e"}


def test_what_libraries_log_comes_out_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("asyncio").warning("slow %s", "\x1b[2J")
    line = json.loads(stream.getvalue())
    assert (line["part"], line["event"], line["host"]) == ("asyncio", "slow \\x1b[2J", "here")


def test_an_exception_is_one_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("bad \x1b")
    except ValueError:
        structlog.get_logger().exception("failed")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert "bad \\x1b" in json.loads(lines[0])["exception"]
