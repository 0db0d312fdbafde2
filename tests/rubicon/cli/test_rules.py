"""`rubicon rules`: what is in force, for people and programs, and reading the file again."""

from __future__ import annotations

from controlplane import detectors
from controlplane.policy import Rule, file
from rubicon.client import AsyncClient
from tests.rubicon.cli.conftest import Cli
from tests.rubicon.world import World

TEXT = """
respond:
  - {detector: ssh-remote-forward, labels: {job: rome-7}, action: kill, max_agents_per_minute: 3}
  - {detector: any, min_severity: critical, action: isolate, mode: monitor}
"""


def rules(text: str) -> list[Rule]:
    return file.parse(text, "/etc/rubicon/rubicon.yaml", [module.DETECTOR.id for module in detectors.load()])


def test_rules_are_listed_and_read_again(world: World, cli: Cli) -> None:
    assert cli("rules", "--json").out == ""
    world.stage.rules = rules(TEXT)
    first, second = cli("rules", "--reload", "--json").json
    assert first == {
        "name": "ssh-remote-forward: kill [job=rome-7]",
        "detector": "ssh-remote-forward",
        "labels": {"job": "rome-7"},
        "min_severity": "high",
        "action": "kill",
        "mode": "enforce",
        "max_agents_per_minute": 3,
        "waiting": 0,
        "held_back": 0,
    }
    assert (second["detector"], second["action"], second["mode"]) == ("", "isolate", "monitor")
    shown = cli("rules").out
    assert shown.split()[:2] == ["DETECTOR", "LABELS"]
    assert "job=rome-7" in shown


def test_a_file_that_cannot_be_changes_nothing(world: World, cli: Cli) -> None:
    world.stage.rules = rules(TEXT)
    assert len(cli("rules", "--reload", "--json").json) == 2

    def broken() -> list[Rule]:
        return rules("respond: {ssh-remote-forward: stop}")

    world.stage.plane._read_rules = broken
    done = cli("rules", "--reload")
    assert done.code == 2
    assert "/etc/rubicon/rubicon.yaml:1: there is no action 'stop'; use kill, freeze, isolate" in done.err
    assert len(cli("rules", "--json").json) == 2


def test_only_root_may_have_them_read_again(world: World, cli: Cli) -> None:
    world.local.uid = 1000
    done = cli("rules", "--reload")
    assert (done.code, "only root" in done.err) == (4, True)
    assert cli("rules").code == 0


async def test_the_same_with_asyncio(world: World) -> None:
    world.stage.rules = rules(TEXT)
    async with AsyncClient(world.instance) as client:
        assert await client.rules() == []
        assert await client.reload_rules() == await client.rules() != []
