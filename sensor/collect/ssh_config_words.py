"""Lines of ssh_config(5) and a client's arguments, taken apart. Runs in the helper, as nobody. Source: OpenSSH readconf.c,
ssh.c, misc.c."""

from __future__ import annotations

from typing import NamedTuple

_WITH_VALUE = frozenset("bceilmopBDEFIJLOPQRSwW")
_FLAGS = frozenset("1246afgknqstvxACGKMNTVXYy")


class Arguments(NamedTuple):
    """What the client's arguments say about its configuration."""

    host: str
    file: str
    """-F; empty when not given."""
    lines: list[str]
    """-o and what amounts to it, in order."""
    stdio_forward: bool


def split_line(line: str) -> tuple[str, list[str]]:
    """Takes a line apart as readconf.c does: (lower-case keyword, words)."""
    text = line.strip()
    if not text or text.startswith("#"):
        return "", []
    if text.startswith('"'):
        keyword, _, rest = text[1:].partition('"')
    else:
        end = next((at for at, char in enumerate(text) if char in ' \t="'), len(text))
        keyword, rest = text[:end], text[end:]
    rest = rest.lstrip(" \t")
    return keyword.lower(), split_words(rest[1:] if rest.startswith("=") else rest)


def split_words(text: str) -> list[str]:
    """Words as misc.c argv_split makes them: both quotes, backslash before a quote or itself, `#` ends the line."""
    words: list[str] = []
    word: str | None = None
    quote, at = "", 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text) and text[at + 1] in "'\"\\":
            at += 1
            word = (word or "") + text[at]
        elif quote:
            if char == quote:
                quote = ""
            else:
                word = (word or "") + char
        elif char in "'\"":
            quote, word = char, word or ""
        elif char in " \t\r\n\f":
            if word is not None:
                words.append(word)
            word = None
        elif char == "#" and word is None:
            break
        else:
            word = (word or "") + char
        at += 1
    return words if word is None else [*words, word]


def expand_home(path: str, home: str) -> str:
    """`~` and `~/…`; another user's home is left as it is."""
    return home + path[1:] if path == "~" or path.startswith("~/") else path


def arguments(argv: list[str]) -> Arguments:
    """Reads a client's arguments as ssh.c does; those of another program give what they give."""
    host, file, lines, stdio_forward = "", "", [], False
    rest = argv[1:]
    while rest:
        word = rest.pop(0)
        if word == "--":
            # whatever follows, or follows the host after it, is the command (ssh.c: opt_terminated)
            host = host or (rest[0] if rest else "")
            break
        if not word.startswith("-") or word == "-":
            if host:
                break
            host = word
            continue
        for at, letter in enumerate(word[1:], 1):
            if letter in _WITH_VALUE:
                value = word[at + 1 :] or (rest.pop(0) if rest else "")
                if letter == "F":
                    file = value
                elif letter in "olpS":
                    lines.append({"o": "", "l": "User ", "p": "Port ", "S": "ControlPath "}[letter] + value)
                elif letter == "W":
                    stdio_forward = True
                break
            if letter not in _FLAGS:
                break
    if host.startswith("ssh://"):
        host = host[6:].split("/")[0]
        name, colon, port = host.rpartition(":")
        if colon and port.isdigit():
            host = name
            lines.append(f"Port {port}")
    user, at_sign, host = host.rpartition("@")
    if at_sign:
        lines.append(f"User {user}")
    return Arguments(host, file, lines, stdio_forward)
