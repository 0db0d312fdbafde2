"""How commands end: the exit codes of docs/cli.md, and bad input of every command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rubicon.cli import main as cli_main
from rubicon.cli.commands import COMMANDS
from tests.controlplane.builders import AGENT, Kernel, key
from tests.rubicon.cli.conftest import Cli
from tests.rubicon.world import Command, FolderInstance, Result, World

RUBICON = Path(sys.executable).with_name("rubicon")
USAGE: tuple[tuple[str, ...], ...] = (
    ("nosuch",),
    ("--nosuch",),
    ("ps", "extra"),
    ("ps", "-l", "nolabel"),
    ("ps", "-l", "=value"),
    ("tree",),
    ("tree", "a", "b"),
    ("events",),
    ("events", "a", "--pid", "x"),
    ("events", "a", "--pid", "99999999999"),
    ("events", "a", "--pid", "-1"),
    ("events", "a", "--since", "yesterday"),
    ("events", "a", "--since", "1e400d"),
    ("alerts", "--severity", "loud"),
    ("alerts", "--since", "2026-99-01"),
    ("alerts", "--since", "99999999999999d"),
    ("alerts", "--since", "-5m"),
    ("alerts", "--since", "5"),
    ("alerts", "--since", "m"),
    ("alerts", "--since", "nans"),
    ("alerts", "--since", "²s"),
    ("alerts", "--since", "0001-01-01T00:00:00+14:00"),
    ("kill",),
    ("kill", "a", "-l", "k=v"),
    ("kill", "--host", "another", "--local"),
    ("kill", "-l", "nonsense"),
    ("freeze", "a", "--ttl", "0"),
    ("isolate", "a", "--ttl", "367d"),
    ("release", "a", "--ttl", "1h"),
    ("kill", "-l", "job=1", "-l", "job=2"),
    ("ps", "-l", "job=1", "-l", "job=2"),
    ("coverage", "extra"),
    ("doctor", "extra"),
    ("logs", "nosuch"),
    ("logs", "-n", "-1"),
    ("logs", "-n", "x"),
    ("version", "extra"),
    ("completion", "tcsh"),
    ("completion",),
    ("up", "extra"),
    ("down", "extra"),
)


@pytest.mark.parametrize("words", USAGE)
def test_wrong_usage_is_2_and_says_what_is_wrong(told: World, cli: Cli, words: tuple[str, ...]) -> None:
    if words[:2] == ("events", "a"):
        words = ("events", "rollout", *words[2:])
    done = cli(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("plist", "did you mean"),
        ("help", "rubicon COMMAND --help"),
        ("pss", "'ps'"),
        ("claude", "rubicon run -- claude"),
    ],
)
def test_a_word_that_is_no_command_gets_a_hint(cli: Cli, word: str, hint: str) -> None:
    done = cli(word)
    assert done.code == 2
    assert hint in done.err or word == "plist"


@pytest.mark.parametrize(
    "words",
    [
        ("tree", "nobody"),
        ("events", "nobody"),
        ("alerts", "nobody"),
        ("alerts", "nobody", "-f"),
        ("kill", "nobody"),
        ("kill", "4194000"),
        ("kill", "100@1"),
        ("kill", "pid:77777777"),
        ("tree", "\x1b[31mred"),
        ("tree", os.fsdecode(b"\xff")),
    ],
)
def test_an_unknown_agent_or_process_is_5(told: World, cli: Cli, words: tuple[str, ...]) -> None:
    done = cli(*words)
    assert done.code == (2 if "\udcff" in words[-1] else 5), done.err
    assert done.out == ""
    assert done.err.startswith("rubicon: ")
    assert done.err.count("\n") == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", done.err)


def test_the_version_is_also_where_it_is_looked_for(cli: Cli) -> None:
    done = cli("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.split()[0] == "rubicon"
    assert done.out.split()[1] == cli("version").out.split()[1].rstrip(",")


def test_an_ambiguous_prefix_is_told(world: World, cli: Cli) -> None:
    for number, agent in enumerate(("aaaa00000001", "aaaa00000002")):
        world.deliver([Kernel(agent, epoch=80 + number).enrol(key(100 + number), name=f"n{number}")])
    assert cli("tree", "aaaa00000001").code == 0
    assert cli("tree", "aaaa").code in (2, 5)
    assert cli("tree", "aaa").code == 5


def test_nothing_runs_is_3_and_says_how_to_start(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rubicon.v1.instance.Instance.current", lambda: FolderInstance(str(tmp_path)))
    for words in (
        ("ps",), ("tree", "a"), ("events", "a"), ("alerts",), ("alerts", "-f"), ("kill", "a"), ("kill", "--local", "a"),
        ("coverage",),
    ):  # fmt: skip
        done = cli(*words)
        assert (done.code, done.out) == (3, ""), words
        assert "sudo rubicon up" in done.err
    assert cli("logs").code == 5
    assert cli("version").code == 0
    assert cli("doctor").code == 1


def test_a_dead_plane_is_3_and_names_what_works_without_it(told: World, cli: Cli) -> None:
    told.stop_plane()
    done = cli("kill", "rollout")
    assert done.code == 3
    assert "kill --local" in done.err
    told.local.answers["kill"] = {
        "ok": True,
        "response": {"action": "ACTION_KILL", "state": "RESPONSE_STATE_VERIFIED", "killed": 2},
    }
    assert cli("kill", "--local", "rollout", "--reason", "r").code == 0
    assert told.local.asked[-1] == {"op": "kill", "target": "rollout", "reason": "r", "force": False, "dry_run": False}
    assert cli("kill", "--local", "--force", "101@5").code == 0
    assert told.local.asked[-1]["target"] == {"pid": 101, "start_time": 5}
    told.local.answers["kill"] = {"ok": True, "response": {"action": "ACTION_KILL", "state": "RESPONSE_STATE_APPLIED"}}
    assert cli("kill", "--local", "rollout").code == 6
    told.start_plane()


def test_no_sensor_of_that_host_is_3(told: World, cli: Cli) -> None:
    assert cli("coverage", "--host", "paris").code == 3
    told.disconnect()
    assert cli("kill", "rollout").code == 3


@pytest.mark.parametrize("reason", ["CALLER_IS_AGENT", "PERMISSION_DENIED"])
def test_a_caller_that_may_not_is_4(told: World, cli: Cli, reason: str) -> None:
    told.local.answers["attest"] = {"ok": False, "reason": reason, "error": "you may not"}
    for words in (("ps",), ("kill", "rollout"), ("tree", "rollout")):
        done = cli(*words)
        assert (done.code, done.out) == (4, "")
        assert "you may not" in done.err


def test_a_protected_target_is_4_and_says_force(told: World, cli: Cli) -> None:
    async def refuse(_: Command) -> Result:
        return Result(error_reason="TARGET_PROTECTED", error="it holds your shell")

    told.obey = refuse
    done = cli("kill", "rollout")
    assert done.code == 4
    assert "--force" in done.err or "force" in done.err


def test_a_bad_instance_name_is_2(tmp_path: Path) -> None:
    for name in ("A", "../x", "-a", "x" * 40, "a\nb", "\x1b[2J"):
        done = subprocess.run(
            [RUBICON, "ps"], env={**os.environ, "RUBICON_INSTANCE": name}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "RUBICON_INSTANCE" in done.stderr
        assert "\x1b" not in done.stderr


@pytest.mark.parametrize("words", ["--help", "run --help", "completion bash"])
def test_a_reader_that_goes_away_is_141_and_quiet(words: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as gone:
        done = subprocess.run([RUBICON, *words.split()], stdout=gone, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_is_130_and_quiet(told: World, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("rubicon.client.sync.Client.events", interrupted)
    done = cli("events", "rollout", "-f")
    assert (done.code, done.out, done.err.strip()) == (130, "", "")


def test_a_defect_is_70(told: World, cli: Cli) -> None:
    told.local.answers["attest"] = {"ok": False, "reason": "INTERNAL", "error": "oh"}
    done = cli("ps")
    assert done.code == 70
    assert "rubicon logs" in done.err


def test_codes_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    written = {int(code) for code in re.findall(r"^    (\d+)  ", page, re.MULTILINE)}
    known = {
        *cli_main._VERDICTS.values(), *(code for _, code in cli_main._ERRORS), cli_main.USAGE, cli_main.DEFECT,
        cli_main.INTERRUPTED, cli_main.NO_READER,
    }  # fmt: skip
    assert written == known


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    for option in ("-h", "--help"):
        done = cli(command, option)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"Usage: rubicon {command}")


def test_down_of_somebody_who_is_not_root_releases_nobody(
    told: World, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.local.answers["agents"] = {"ok": True, "agents": [{"id": AGENT, "name": "rollout", "frozen": True}]}
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = cli("down", "--yes")
    assert (done.code, "only root" in done.err) == (4, True)
    assert "release" not in [each["op"] for each in told.local.asked]
