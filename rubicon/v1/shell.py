"""Words of a shell's text with their places, so that one word can be changed and all else stays as it was written.

No shell is imitated: quotes and backslashes are undone, `;`, `&`, `|`, parentheses, backquotes and line ends separate
commands, and nothing is expanded. A quote that nobody closes is a letter. Every text is taken: it need not be a shell's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_TOKEN = re.compile(
    r"""(?P<word>(?:[^\s;&|()<>`"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*'|["'\\])+)|(?P<end>[;&|()`\n]+)|[\s<>]+""", re.DOTALL
)
_QUOTED = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)""", re.DOTALL)
_ESCAPED = re.compile(r"""\\(["\\$`\n])""")
_SPECIAL = re.compile(r"""[\s;&|()<>`"'\\$]""")


def rewrite(text: str, change: Callable[[list[str]], Sequence[str]]) -> str:
    """The text after `change` has seen the words of each command, without quotes, and given as many back.

    A word that comes back as it was keeps its spelling; one that has changed gets the quotes that it had, or needs.
    """
    pieces: list[str] = []
    command: list[tuple[int, str, str]] = []

    def end() -> None:
        if command:
            for (place, raw, plain), new in zip(command, change([plain for _, _, plain in command]), strict=True):
                pieces[place] = raw if new == plain else _quoted(new, raw)
            command.clear()

    for token in _TOKEN.finditer(text):
        raw = token.group()
        if token["word"]:
            plain = unquoted(raw)
            if plain == text:
                return text  # one bare word: there is nothing to take apart
            command.append((len(pieces), raw, plain))
        pieces.append(raw)
        if token["end"] or ("\n" in raw and not token["word"]):
            end()
    end()
    return "".join(pieces)


def unquoted(word: str) -> str:
    """A word as the program that is called would see it."""
    return _QUOTED.sub(_plain, word)


def _plain(match: re.Match[str]) -> str:
    single, double, escaped = match.groups()
    if double is not None:
        return _ESCAPED.sub(r"\1", double)
    return str(single if single is not None else escaped)


def _quoted(word: str, before: str) -> str:
    if not _SPECIAL.search(word):
        return word
    if before[0] == "'" and "'" not in word:
        return f"'{word}'"
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
