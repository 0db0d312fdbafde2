"""What people write on a command line, read in one place: lengths of time, moments, labels.

A reader takes the words and raises ValueError, whose message says what to write instead; `option` makes a click callback
of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from rubicon.v1.ttl import LONGEST_S

if TYPE_CHECKING:
    from datetime import datetime

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds."""
_LENGTH = "seconds or 30s, 10m, 2h, 1d"


def option(read: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback: what `read` makes of the words, None where the option is not given."""

    def callback(_: click.Context, __: click.Parameter, words: Any) -> Any:
        if words is None:
            return None
        try:
            return read(words)
        except (ValueError, OverflowError) as error:
            raise click.BadParameter(str(error)) from None

    return callback


def length(text: str) -> float:
    """Seconds: a number of them, or of what its last letter says (s, m, h, d); above zero, at most 366 days.

    Raises:
        ValueError: it is something else.
    """
    seconds = _seconds(text, bare=True)
    if seconds is None or not 0 < seconds <= LONGEST_S:
        raise ValueError(f"use {_LENGTH}, above zero and at most 366d")
    return seconds


def moment(text: str) -> datetime:
    """A time in UTC: 30s, 10m, 2h, 1d ago, or ISO 8601; local where it names no zone.

    Raises:
        ValueError, OverflowError: it is something else, or a time that no calendar has.
    """
    from datetime import UTC, datetime, timedelta

    try:
        ago = _seconds(text, bare=False)
        if ago is None:
            return datetime.fromisoformat(text).astimezone(UTC)
        if ago < 0:
            raise ValueError(text)
        return datetime.now(UTC) - timedelta(seconds=ago)
    except (ValueError, OverflowError):
        raise ValueError("use 30s, 10m, 2h, 1d or a time like 2026-01-31T12:00:00") from None


def labels(words: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE, as many as there are; VALUE may be empty and hold "=".

    Raises:
        ValueError: one has no "=" or no KEY, or a KEY has two values: who means both, or either, would be misunderstood.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"label {word!r}: use KEY=VALUE")
        if found.setdefault(key, value) != value:
            raise ValueError(f"label {key!r} has two values: give one")
    return found


def label_option(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-l KEY=VALUE`, as `labels: dict[str, str]`."""
    return click.option(
        "-l", "--label", "labels", multiple=True, callback=option(labels), metavar="KEY=VALUE", help=help
    )


def _seconds(text: str, *, bare: bool) -> float | None:
    """None when it is no number with a unit (or, where it may be bare, without one)."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS else (text, "")
    if not unit and not bare:
        return None
    try:
        return float(number) * UNITS.get(unit, 1)
    except ValueError:
        return None
