"""The registry of living agents: what is on disk, and what a restart makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensor.act.registry import Living, Registry, checked_labels, checked_name
from sensor.errors import AgentNameTaken, AgentNotFound, InvalidArgument


def living(agent_id: str = "0000000000aa", name: str = "one") -> Living:
    return Living(id=agent_id, name=name, number=int(agent_id, 16), labels={"k": "v"}, command=["sh", "-c", "x"])


def test_it_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "agents.json"
    before = Registry(path, "boot")
    before.add(living())
    before.change("0000000000aa", condemned=True, reason="why")
    before.leave("/rubicon/x", behind=True)
    after = Registry(path, "boot")
    agent = after.find("one")
    assert (agent.number, agent.labels, agent.condemned, agent.reason) == (0xAA, {"k": "v"}, True, "why")
    assert after.leftovers == ["/rubicon/x"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_agents_of_an_earlier_boot_are_gone(tmp_path: Path) -> None:
    Registry(tmp_path / "agents.json", "boot").add(living())
    assert len(Registry(tmp_path / "agents.json", "next")) == 0


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b'{"format":1,"boot_id":"boot","agents":[{}]}']
)
def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agents.json"
    path.write_bytes(content)
    registry = Registry(path, "boot")
    assert len(registry) == 0
    assert path.with_suffix(".unreadable").read_bytes() == content
    registry.add(living())
    assert len(Registry(path, "boot")) == 1


def test_a_name_is_unique_among_the_living(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "agents.json", "boot")
    registry.add(living())
    with pytest.raises(AgentNameTaken, match="one"):
        registry.add(living("0000000000bb"))
    with pytest.raises(AgentNameTaken):
        registry.add(living("0000000000bb", "0000000000aa"))
    registry.remove("0000000000aa")
    registry.add(living("0000000000bb"))
    assert registry.find("0000000000bb").name == "one"


def test_an_unknown_agent_is_a_typed_error(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "agents.json", "boot")
    with pytest.raises(AgentNotFound, match="rubicon ps"):
        registry.find("nobody")
    assert registry.by_number(7) is None
    assert registry.remove("nobody") is None


@pytest.mark.parametrize("name", ["x" * 64, "a/b", " a", "a\n", "\x1b[31m", "a\u202eb", "\ud800"])
def test_names_that_would_deceive_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        checked_name(name, "fallback")


def test_an_empty_name_falls_back() -> None:
    assert checked_name("", "fallback") == "fallback"
    assert checked_name("Agent 7 – δ", "fallback") == "Agent 7 – δ"


@pytest.mark.parametrize(
    "labels", [None, [], {"": "v"}, {"k": 1}, {1: "v"}, {str(n): "" for n in range(65)}, {"k": "v" * 2000}]
)
def test_labels_are_short_text(labels: object) -> None:
    with pytest.raises(InvalidArgument):
        checked_labels(labels)
