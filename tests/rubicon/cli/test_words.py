"""What people write on a command line: lengths of time, moments, labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from rubicon.cli import words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("366d", 366 * 86400)],
)
def test_a_length(text: str, seconds: float) -> None:
    assert words.length(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-5", "-5m", "367d", "nan", "nans", "inf", "1e999", "m", "²s", "5w", "5 minutes", "1h30m"]
)
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(ValueError, match="30s, 10m, 2h, 1d"):
        words.length(text)


@pytest.mark.parametrize(
    ("text", "ago"),
    [("0s", 0), ("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1000d", 86_400_000)],
)
def test_a_moment_that_is_past(text: str, ago: float) -> None:
    before = datetime.now(UTC)
    found = words.moment(text)
    assert before - timedelta(seconds=ago) <= found <= datetime.now(UTC) - timedelta(seconds=ago)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12).astimezone(UTC)),
        ("2026-01-31", datetime(2026, 1, 31).astimezone(UTC)),
    ],
)
def test_a_moment_by_the_calendar(text: str, when: datetime) -> None:
    assert words.moment(text) == when


@pytest.mark.parametrize(
    "text",
    ["", "5", "m", "-5m", "nans", "infd", "²s", "yesterday", "2026-99-01", "0001-01-01T00:00:00+14:00", "1e400d"],
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="2026-01-31T12:00:00"):
        words.moment(text)


def test_labels() -> None:
    assert words.labels(()) == {}
    assert words.labels(("job=rome-7", "team=a=b", "empty=", "job=rome-7")) == {
        "job": "rome-7",
        "team": "a=b",
        "empty": "",
    }


@pytest.mark.parametrize("text", ["", "job", "=value", "="])
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(ValueError, match="use KEY=VALUE"):
        words.labels(("a=b", text))


def test_a_label_with_two_values_is_refused() -> None:
    with pytest.raises(ValueError, match="'job' has two values"):
        words.labels(("job=1", "job=2"))


def test_click_says_which_option_it_was() -> None:
    @click.command()
    @click.option("--ttl", callback=words.option(words.length))
    def command(ttl: float | None) -> float | None:
        return ttl

    assert command.main([], standalone_mode=False) is None
    assert command.main(["--ttl", "2m"], standalone_mode=False) == 120
    with pytest.raises(click.BadParameter) as caught:
        command.main(["--ttl", "soon"], standalone_mode=False)
    assert caught.value.format_message() == (
        "Invalid value for '--ttl': use seconds or 30s, 10m, 2h, 1d, above zero and at most 366d"
    )
