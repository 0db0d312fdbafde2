"""How OpenSSH takes options and forwards apart: readconf.c (keywords, parse_forward) and misc.c (argv_split)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SERVICE = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


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
    """Reads [address:]port[:host:port], with Unix-socket paths and [v6] brackets, as readconf.c parse_forward does;
    None if it is none."""
    fields = _fields(spec.strip())
    paths = [name.startswith("/") for name in fields]
    shape = (len(fields), *paths)
    if shape == (1, True):
        return Forward(fields[0], "socks")
    if shape == (1, False) and _is_port(fields[0], numeric=True):
        return Forward(fields[0], "socks")
    if shape == (2, True, True):
        return Forward(fields[0], fields[1])
    if shape == (2, False, True) and _is_port(fields[0]):
        return Forward(fields[0], fields[1])
    if shape == (2, False, False) and _is_port(fields[1], numeric=True):
        return Forward(":".join(fields), "socks")
    if shape == (3, True, False, False) and _is_port(fields[2]):
        return Forward(fields[0], ":".join(fields[1:]))
    if shape == (3, False, False, True) and _is_port(fields[1]):
        return Forward(":".join(fields[:2]), fields[2])
    if shape == (3, False, False, False) and _is_port(fields[0]) and fields[1] and _is_port(fields[2]):
        return Forward(fields[0], ":".join(fields[1:]))
    if shape == (4, False, False, False, False) and _is_port(fields[1]) and fields[2] and _is_port(fields[3]):
        return Forward(":".join(fields[:2]), ":".join(fields[2:]))
    return None


def _fields(spec: str) -> list[str]:
    """The fields between colons; brackets keep their colons, and outside of a path a slash separates as a colon does
    (host/port)."""
    fields = re.findall(r"(?:^|(?<=:))(\[[^\]]*\]|/[^:]*|[^:]*)(?::|$)", spec)
    out: list[str] = []
    for name in fields:
        if not name.startswith(("/", "[")) and "/" in name:
            out.extend(name.split("/"))
        else:
            out.append(name)
    return out[:5]


def _is_port(text: str, *, numeric: bool = False) -> bool:
    if text.isascii() and text.isdigit():
        return int(text) <= 65535
    return not numeric and _SERVICE.fullmatch(text) is not None
