"""How OpenSSH takes options and forwards apart: readconf.c (keywords, parse_forward) and misc.c (argv_split)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SOCKS = "socks"
"""Target of a forward whose far side says for each connection where it goes; also the one service name that is taken
where only a port can tell a forward from another word."""
_SERVICE = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_VARIABLE = re.compile(r"\$\{\w+\}")


@dataclass(frozen=True, slots=True)
class Forward:
    """One remote forward: where the far side listens, and where connections to it go ("socks": wherever the far side
    asks)."""

    listen: str
    target: str


def split_option(line: str) -> tuple[str, list[str]]:
    """Splits "Keyword value…" or "Keyword=value…" as readconf.c does: (lower-case keyword, arguments), quotes
    removed."""
    match = re.match(r'\s*(?:"([^"]*)"|([^\s="]+))\s*=?\s*(.*)', line, re.DOTALL)
    if match is None:
        return "", []
    return (match[1] or match[2]).lower(), split_words(match[3])


def split_words(text: str) -> list[str]:
    """Splits arguments as misc.c argv_split does: both quotes, backslash before a quote or itself, `#` ends the
    line."""
    words: list[str] = []
    word, quote, inside = "", "", False
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text) and text[at + 1] in "'\"\\":
            word, inside = word + text[at + 1], True
            at += 1
        elif quote:
            if char == quote:
                quote = ""
            else:
                word += char
        elif char in "'\"":
            quote, inside = char, True
        elif char in " \t\r\n":
            if inside or word:
                words.append(word)
            word, inside = "", False
        elif char == "#" and not word and not inside:
            break
        else:
            word += char
        at += 1
    if inside or word:
        words.append(word)
    return words


def join_forward(arguments: Sequence[str]) -> str:
    """RemoteForward's one or two arguments as the one word that -R takes."""
    return ":".join(arguments[:2])


def parse_forward(spec: str) -> Forward | None:
    """Reads [address:]port[:host:port] as readconf.c parse_forward does: a field with a slash in it is a Unix socket's
    path, brackets keep their colons, a backslash keeps the next character. None if it is no forward.

    What ${VARIABLES} stand for is not known here: with one, the whole is taken as a forward.
    """
    spec = spec.lstrip()
    if _VARIABLE.search(spec):
        return Forward(spec, "as the environment says")
    fields = _fields(spec)
    names = [name for name, _ in fields]
    shape = (len(fields), *("/" in name for name in names))
    if shape == (1, True) or (shape == (1, False) and _is_port(names[0], numeric=True)):
        return Forward(names[0], SOCKS)
    if shape == (2, True, True) or (shape == (2, False, True) and _is_port(names[0])):
        return Forward(names[0], names[1])
    if shape == (2, False, False) and _is_port(names[1], numeric=True):
        return Forward(_join(fields), SOCKS)
    if shape[:2] == (3, True) and _is_port(names[2]):
        return Forward(names[0], _join(fields[1:]))
    if shape[:3] == (3, False, False) and shape[3] and _is_port(names[1]):
        return Forward(_join(fields[:2]), names[2])
    if shape == (3, False, False, False) and _is_port(names[0]) and names[1] and _is_port(names[2]):
        return Forward(names[0], _join(fields[1:]))
    if shape == (4, False, False, False, False) and _is_port(names[1]) and names[2] and _is_port(names[3]):
        return Forward(_join(fields[:2]), _join(fields[2:]))
    return None


def _join(fields: Sequence[tuple[str, bool]]) -> str:
    return ":".join(f"[{name}]" if bracketed else name for name, bracketed in fields)


def _fields(spec: str) -> list[tuple[str, bool]]:
    """Fields between colons, and whether each stood in brackets; none when readconf.c parse_fwd_field fails or there
    are more than four."""
    fields: list[tuple[str, bool]] = []
    at = 0
    while at < len(spec):
        if spec[at] == "[":
            end = spec.find("]", at)
            if end < 0 or spec[end + 1 : end + 2] not in ("", ":"):
                return []
            fields.append((spec[at + 1 : end], True))
            at = end + 2
            continue
        name = ""
        while at < len(spec) and spec[at] != ":":
            if spec[at] == "\\":
                at += 1
            name += spec[at : at + 1]
            at += 1
        fields.append((name, False))
        at += 1
    return fields if len(fields) <= 4 else []


def _is_port(text: str, *, numeric: bool = False) -> bool:
    if text.isascii() and text.isdigit():
        return int(text) <= 65535
    return text == SOCKS if numeric else _SERVICE.fullmatch(text) is not None
