"""A process's environment, with what is probably a secret hidden."""

from __future__ import annotations

import re

from rubicon.v1 import secrets

_ALSO = re.compile(
    r"(?i)(secret|passw|token|api_?key|access_?key|private|credential|cookie|session|auth|_key$|_pat$|dsn$|^pgpass)"
)
_SHORT = re.compile(r"(?:gh[pousr]_|sk-|xox[abprs]-|AKIA|eyJ)[A-Za-z0-9_\-.]{8,}")
"""More than of command lines: in a picture of everything, too much is hidden rather than too little."""


def variables(raw: bytes, *, show_secrets: bool) -> dict[str, str]:
    """NAME → value of /proc/PID/environ; bytes that are not UTF-8 are escaped. The agent wrote all of it."""
    found = {}
    for entry in raw.split(b"\0"):
        name, equals, value = entry.decode(errors="backslashreplace").partition("=")
        if equals:
            found[name] = value if show_secrets else masked(name, value)
    return found


def masked(name: str, value: str) -> str:
    """The value, hidden where the name or the value says that it is a secret."""
    if value and _ALSO.search(name):
        return secrets.MASK
    return _SHORT.sub(secrets.MASK, secrets.variable(name, value))
