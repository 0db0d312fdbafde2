"""Names of agents: what is refused would deceive somebody, or a command."""

from __future__ import annotations

import pytest

from rubicon.v1 import names


@pytest.mark.parametrize(
    "name", ["mine", "Agent 7 – δ", "rollout-17", "4242a", "a4242", "x" * 63, "pid:x", "2024-11-25"]
)
def test_a_name(name: str) -> None:
    assert names.checked(name) == name


@pytest.mark.parametrize(
    "name", ["", "x" * 64, "δ" * 32, "a/b", " a", "a\n", "\x1b[31m", "a\u202eb", "\ud800", "-x", "--yes"]
)
def test_what_would_deceive_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        names.checked(name)


@pytest.mark.parametrize(
    "name", ["1", "4242", "0042", "pid:4242", "4242@17", "123456789", "123456789012", "a1b2c3d4e5f6"]
)
def test_what_a_command_would_take_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="add"):
        names.checked(name)
