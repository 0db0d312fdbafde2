"""Work that is left for later: at and cron take it from a file, so their set-id programs are all that is seen."""

from __future__ import annotations

import posixpath

from controlplane.detectors._proxy.wishes import program, words
from controlplane.model.process import Image

_FOLDERS = frozenset(("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"))
_TECHNIQUES = {"at": ("T1053.002",), "crontab": ("T1053.003",)}
_AT_LOOKS, _CRONTAB_LOOKS = frozenset("lcrdV"), frozenset("lrVT")
_AT_WITH_VALUE, _CRONTAB_WITH_VALUE = "qftu", "u"


def queued(image: Image) -> tuple[str, tuple[str, ...]] | None:
    """Name and ATT&CK techniques of a program that leaves work for later, or None. One of that name elsewhere than the
    system has it lacks the rights to do so."""
    name = program(image)
    if name not in _TECHNIQUES or posixpath.dirname(image.exe) not in _FOLDERS:
        return None
    called = posixpath.basename(image.argv[0].decode("utf-8", "replace")) if image.argv else name
    if called in ("atq", "atrm"):
        return None
    options = _letters(words(image), _AT_WITH_VALUE if name == "at" else _CRONTAB_WITH_VALUE)
    return None if options & (_AT_LOOKS if name == "at" else _CRONTAB_LOOKS) else (name, _TECHNIQUES[name])


def _letters(arguments: list[str], with_value: str) -> set[str]:
    """Option letters as getopt(3) takes them; what follows one that has a value is that value."""
    found: set[str] = set()
    skip = False
    for word in arguments:
        if skip:
            skip = False
            continue
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            continue
        for at, letter in enumerate(word[1:], 2):
            found.add(letter)
            if letter in with_value:
                skip = at == len(word)
                break
    return found
