"""Text that a terminal cannot mistake for orders.

Arguments, paths and names are an agent's own words: they may hold escape codes that move the cursor, set the title or
answer for the keyboard, and marks that turn the direction of text around.
"""

from __future__ import annotations

import json
import re
from typing import Any

_DANGEROUS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1 (0x9b is CSI in one byte)
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # direction, zero width, line separators
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"  # annotations, invisible tags, lone surrogates
)
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}
_IN_JSON = re.compile(
    "[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def safe(text: str) -> str:
    r"""The text with every such character written out (\e, \x9b, \u202e); a lone surrogate as the byte it stands for."""
    return _DANGEROUS.sub(_written, text)


def _written(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_line(value: dict[str, Any]) -> str:
    """One object as one line of JSON, readable, and harmless on a terminal; reading it back gives the same value.

    Only a lone surrogate, which JSON cannot carry, becomes the text of the byte that it stands for.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(_encodable(value), ensure_ascii=False, separators=(", ", ": "))
    return _IN_JSON.sub(lambda match: json.dumps(match.group())[1:-1], text)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape" if _bytes_only(value) else "backslashreplace").decode(
            "utf-8", "backslashreplace"
        )
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(each) for each in value]
    return value


def _bytes_only(text: str) -> bool:
    """Its surrogates all stand for bytes (PEP 383)."""
    return all(0xDC80 <= ord(each) <= 0xDCFF for each in text if "\ud800" <= each <= "\udfff")


def quoted(argument: str) -> str:
    """One argument as a shell would take it, neutralised; bare where nothing needs quotes."""
    if argument and re.fullmatch(r"(?!~)[\w@%+=:,./~-]+", argument, re.ASCII):
        return argument
    clean = safe(argument)
    if clean != argument:
        return "$'" + clean.replace("'", "\\'") + "'"
    return "'" + argument.replace("'", "'\"'\"'") + "'"
