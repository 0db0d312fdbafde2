"""`logs --json`: what a daemon wrote as an object comes out as one, and whatever else is in its log is not lost."""

from __future__ import annotations

import pytest

from rubicon.cli.command.logs import parsed


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (
            '{"event": "sensor ready", "level": "info"}\n',
            {"event": "sensor ready", "level": "info", "daemon": "sensor"},
        ),
        ('{"event": "e", "daemon": "other"}\n', {"event": "e", "daemon": "sensor"}),
        ("Traceback (most recent call last):\n", {"event": "Traceback (most recent call last):", "daemon": "sensor"}),
        ("[1, 2]\n", {"event": "[1, 2]", "daemon": "sensor"}),
        ("\n", {"event": "", "daemon": "sensor"}),
    ],
)
def test_a_line(line: str, value: dict[str, str]) -> None:
    assert parsed("sensor", line) == value
