"""`--json`: the names that the issue fixes and docs/cli.md promises, one object a line."""

from __future__ import annotations

import re
import runpy

import pytest

from rubicon.v1 import coverage_pb2
from tests.controlplane.builders import AGENT, HOST
from tests.docs.pages import REPOSITORY
from tests.rubicon.cli.conftest import Cli
from tests.rubicon.world import World

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
PROCESS = {"pid", "start_time", "boot_id", "exe", "argv", "cwd", "uid", "container"}
NAMES = {
    "ps": {
        "id", "name", "labels", "state", "host", "started_at", "ended_at", "processes", "processes_total", "alerts",
        "flows", "lost", "on_alert", "command", "reason", "alert_id", "frozen", "isolated", "contained_reason",
    },
    "tree": PROCESS | {"depth", "parent_pid", "started_at", "ended_at", "status", "signal"},
    "events": {"time", "kind", "agent", "host", "boot_id", "pid", "start_time", "record", "cursor"},
    "alerts": {
        "id", "time", "agent", "agent_name", "host", "detector", "title", "severity", "techniques", "process",
        "ancestors", "flow", "evidence", "coverage", "response", "response_id", "repeats", "last_time",
    },
    "kill": {
        "id", "action", "agent", "process", "state", "reason", "requested_by", "requested_at", "killed", "elapsed_ms",
        "survivors", "steps", "error", "expires_at", "destroyed", "dry_run", "members",
    },
    "doctor": {"check", "state", "found", "advice"},
    "version": {"version", "python", "sensor"},
    "coverage": {
        "host", "connected", "kernel", "loader", "fact", "hook", "mechanism", "state", "missing", "dies_with_sensor",
    },
}  # fmt: skip
ISSUE = {
    "ps": {"id", "name", "labels", "state", "host", "started_at", "processes", "alerts"},
    "alerts": {
        "id", "time", "agent", "detector", "title", "severity", "techniques", "process", "ancestors", "flow",
        "evidence", "coverage",
    },
}  # fmt: skip


def test_the_page_has_these_names() -> None:
    page = runpy.run_path(str(REPOSITORY / "docs" / "generate_cli.py"))["NAMES"]
    told = {command: names(text) for commands, text in page.items() for command in commands.split(", ")}
    for command, expected in NAMES.items():
        assert told[command] == expected, command
    assert told["freeze"] == told["isolate"] == told["release"] == told["responses"] == NAMES["kill"]


def names(text: str) -> set[str]:
    """The outer names of a row of the page: without what stands in brackets, and what follows a semicolon."""
    while (outer := re.sub(r" ?[(\[{][^()\[\]{}]*[)\]}]", "", text)) != text:
        text = outer
    return set(text.partition(";")[0].split(", "))


def test_names_of_the_issue() -> None:
    for command, names in ISSUE.items():
        assert names <= NAMES[command]


def test_ps(told: World, cli: Cli) -> None:
    (agent,) = cli("ps", "--json").json
    assert agent.keys() == NAMES["ps"]
    assert (agent["id"], agent["name"], agent["state"], agent["host"]) == (AGENT, "rollout", "running", HOST.host)
    assert (agent["labels"], agent["processes"], agent["alerts"]) == ({"episode": "7"}, 2, 2)
    assert (agent["lost"], agent["command"]) == (3, ["bash", "rollout.sh"])
    assert MOMENT.fullmatch(agent["started_at"])
    assert agent["ended_at"] is None
    assert cli("ps", "--json", "-l", "episode=8").out == ""


def test_tree(told: World, cli: Cli) -> None:
    root, child = cli("tree", "rollout", "--json").json
    assert root.keys() == child.keys() == NAMES["tree"]
    assert (root["depth"], child["depth"], child["parent_pid"]) == (0, 1, root["pid"])
    assert (root["exe"], root["argv"], root["cwd"]) == ("/usr/bin/bash", ["bash", "rollout.sh"], "/srv")
    assert (root["start_time"], root["boot_id"]) == (100_000, HOST.boot_id)


def test_events(told: World, cli: Cli) -> None:
    events = cli("events", "rollout", "--json").json
    for event in events:
        assert event.keys() == NAMES["events"] | {event["kind"]}
        assert event["record"].keys() == {"epoch", "cpu", "sequence"}
        assert MOMENT.fullmatch(event["time"])
        assert event["agent"] == AGENT
    assert [event["kind"] for event in events][:5] == ["enrol", "exec", "fork", "exec", "exec"]
    assert events[1]["exec"]["argv"] == ["bash", "rollout.sh"]
    connect = next(event["connect"] for event in events if event["kind"] == "connect")
    assert (connect["flow"]["destination"], connect["flow"]["destination_port"]) == ("203.0.113.9", 443)
    rest = cli("events", "rollout", "--json", "--cursor", events[4]["cursor"]).json
    assert rest == events[5:]
    assert {event["kind"] for event in cli("events", "rollout", "--kind", "exec,fork", "--json").json} == {
        "exec",
        "fork",
    }
    assert {event["pid"] for event in cli("events", "rollout", "--pid", "101", "--json").json} == {101}


def test_alerts(told: World, cli: Cli) -> None:
    found = cli("alerts", "--json").json
    assert [alert["time"] for alert in found] == sorted(alert["time"] for alert in found), "oldest first"
    for alert in found:
        assert alert.keys() == NAMES["alerts"]
        assert alert["process"].keys() == PROCESS
        assert all(each.keys() == PROCESS for each in alert["ancestors"])
        assert alert["flow"].keys() == {"protocol", "source", "destination"}
        assert all(each.keys() == {"kind", "text", "time", "fields"} for each in alert["evidence"])
        assert MOMENT.fullmatch(alert["time"])
        assert alert["severity"] in ("info", "low", "medium", "high", "critical")
    (worst,) = cli("alerts", "rollout", "--severity", "high", "--json").json
    assert (worst["detector"], worst["severity"], worst["agent"]) == ("ssh-remote-forward", "high", AGENT)
    assert worst["flow"]["destination"] == "203.0.113.9:443"
    assert worst["techniques"]
    assert [each["pid"] for each in worst["ancestors"]] == [100]


def test_kill(told: World, cli: Cli) -> None:
    (response,) = cli("kill", "rollout", "--reason", "enough", "--json").json
    assert response.keys() == NAMES["kill"]
    assert (response["action"], response["agent"], response["state"]) == ("kill", AGENT, "verified")
    assert (response["killed"], response["elapsed_ms"], response["reason"]) == (2, 7.25, "enough")
    assert response["survivors"] == []
    assert MOMENT.fullmatch(response["requested_at"])
    assert cli("responses", "rollout", "--json").json == [response]
    assert cli("responses", "--json", "--since", "1h").json == [response]


def test_coverage(world: World, cli: Cli) -> None:
    facts = [
        coverage_pb2.CoverageFact(fact=name, hook="h", mechanism="tracepoint", state=state, missing="m")
        for name, state in (
            ("exec", coverage_pb2.COVERAGE_STATE_FULL),
            ("unix_connect", coverage_pb2.COVERAGE_STATE_MISSING),
        )
    ]
    world.connect(coverage=coverage_pb2.Coverage(kernel="6.18", loader="libbpf", facts=facts))
    found = cli("coverage", "--json").json
    assert [(each["fact"], each["state"]) for each in found] == [("exec", "full"), ("unix_connect", "missing")]
    for each in found:
        assert each.keys() == NAMES["coverage"]


def test_doctor_and_version(told: World, cli: Cli) -> None:
    told.local.answers["status"] = {"ok": True, "version": "0.1.0", "pid": 1, "agents": 1, "uplink": "connected"}
    checks = cli("doctor", "--json").json
    assert all(each.keys() == NAMES["doctor"] for each in checks)
    assert {"kernel", "libbpf", "cgroup v2", "rights", "sensor", "plane"} <= {each["check"] for each in checks}
    (version,) = cli("version", "--json").json
    assert version.keys() == NAMES["version"]
    assert version["sensor"] == "0.1.0"


@pytest.mark.parametrize("command", [("ps",), ("tree", "rollout"), ("events", "rollout"), ("alerts",), ("coverage",)])
def test_json_never_has_colour_and_is_harmless_on_a_terminal(told: World, cli: Cli, command: tuple[str, ...]) -> None:
    plain, shown = cli(*command, "--json"), cli(*command, "--json", tty=True)
    assert plain.code == shown.code == 0
    assert shown.out == plain.out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", plain.out)
