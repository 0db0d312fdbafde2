"""Text that an agent chose cannot give a terminal orders."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubicon.cli.render.safe import json_line, quoted, safe

TEXT = st.text(st.characters(codec=None, categories=None), max_size=60)
"""Any code points, lone surrogates too: what os.fsdecode makes of bytes that are no UTF-8."""


def harmless(text: str) -> bool:
    """No control, format, private or surrogate character but what is drawn."""
    bad = {"Cc", "Cs", "Zl", "Zp"}
    return not any(unicodedata.category(each) in bad or each in "\u202e\u202d\u2066\u200b\ufeff\u061c" for each in text)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ünïcode ✔", "plain ünïcode ✔"),
        ("\x1b[31mred", "\\e[31mred"),
        ("\x1b]0;title\x07", "\\e]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u200bb", "a\\u200bb"),
        ("\U000e0041", "\\U000e0041"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "\\xff\\xfe"),
        ("\ud800", "\\ud800"),
        ("\x00", "\\x00"),
        ("\x7f", "\\x7f"),
        ("", ""),
    ],
)
def test_written_out(raw: str, shown: str) -> None:
    assert safe(raw) == shown


@given(TEXT)
def test_whatever_it_is_it_is_harmless_and_encodable(text: str) -> None:
    shown = safe(text)
    assert harmless(shown)
    shown.encode()
    assert safe(shown) == shown
    assert harmless(quoted(text))
    quoted(text).encode()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), max_size=40))
def test_a_quoted_argument_is_one_word_for_a_shell_and_the_same(text: str) -> None:
    assert shlex.split(quoted(text)) == [text]


@pytest.mark.parametrize("text", ["it's", "a\x1b[0m'b", "\n", "back\\slash\x01", "'", "$(id)", "`id`", "*", "-rf", "~"])
def test_a_quoted_argument_can_be_pasted_into_a_shell_without_harm(text: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {quoted(text)}"], capture_output=True, check=True, text=True, cwd="/"
    )
    words = done.stdout.split("\0")[:-1]
    assert len(words) == 1
    assert words[0].replace("\\", "") == text.replace("\\", "")


@given(st.dictionaries(TEXT, TEXT | st.lists(TEXT) | st.integers() | st.none(), max_size=4))
def test_json_is_one_harmless_line(value: dict[str, object]) -> None:
    line = json_line(value)
    assert harmless(line)
    line.encode()
    json.loads(line)


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text()) | st.booleans(), max_size=4))
def test_json_reads_back_as_it_was(value: dict[str, object]) -> None:
    assert json.loads(json_line(value)) == value


def test_json_keeps_a_byte_that_is_no_text_readable() -> None:
    value = {"argv": [b"a\xffb".decode("utf-8", "surrogateescape")], "nested": {"\ud800": ["\udc80"]}}
    assert json.loads(json_line(value)) == {"argv": ["a\\xffb"], "nested": {"\\ud800": ["\\x80"]}}


def test_json_is_readable_where_it_can_be() -> None:
    assert json_line({"name": "Jürgen", "title": "\u202e\x9b"}) == '{"name": "Jürgen", "title": "\\u202e\\u009b"}'
    assert not re.search("[^ -~]", json_line({"a": "\x1b\x00\x7f"}))
