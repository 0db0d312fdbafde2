"""A settings file on a real host: agents of a label are killed for a reverse tunnel, others are only named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon import AgentKilledError, Client
from tests.e2e.host import Host
from tests.e2e.tunnel import Server, agent_of, alert_of, tunnel

pytestmark = pytest.mark.root
RULES = """
respond:
  - detector: ssh-remote-forward
    labels: {job: rome-7}
    action: kill
  - detector: ssh-remote-forward
    action: kill
    mode: monitor
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The settings file of this host: a wrong one, to begin with."""
    path = tmp_path_factory.mktemp("settings") / "rubicon.yaml"
    path.write_text("respond:\n  ssh-remote-forward: stop\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUBICON_PLANE_SETTINGS_FILE", str(path))
        yield path


@pytest.fixture(scope="module")
def ruled(own_host: Host, file: Path) -> Host:
    """Up, with RULES."""
    file.write_text(RULES)
    done = own_host.rubicon("up")
    assert done.returncode == 0, done.stderr
    return own_host


def test_with_a_wrong_file_nothing_is_started(own_host: Host, file: Path) -> None:
    done = own_host.rubicon("up")
    assert done.returncode == 2
    assert f"rubicon: {file}:2: there is no action 'stop'; use kill, freeze, isolate" in done.stderr
    assert own_host.rubicon("up", "--foreground").returncode == 2
    run = own_host.rubicon("run", "--", "true")
    assert (run.returncode, f"{file}:2" in run.stderr) == (125, True)
    assert not own_host.daemon("supervisor")
    doctor = own_host.rubicon("doctor")
    assert doctor.returncode == 1
    assert "no action 'stop'" in doctor.stdout


def test_whom_the_label_names_is_killed_and_everybody_learns_why(ruled: Host, server: Server) -> None:
    with tunnel(ruled, server.port, "named", "-l", "job=rome-7") as running, Client(ruled.instance) as client:
        agent = agent_of(client, "named")
        with pytest.raises(AgentKilledError) as caught:
            agent.wait(timeout=30)
        _, told = running.communicate(timeout=30)
        alert = alert_of(ruled, "named")
        assert running.returncode == 137
        reason = f"ssh-remote-forward: {alert['title']} (high)"
        assert f"agent named was killed: {reason}" in told
        assert (caught.value.reason, caught.value.alert_id) == (reason, alert["id"])
        (response,) = agent.responses()
        assert (response.verified, response.killed, response.alert_id) == (True, 4, alert["id"])
        assert response.requested_by == "policy (ssh-remote-forward: kill [job=rome-7])"
    assert (alert["response"], alert["response_id"]) == ("kill", response.id)
    listed = next(each for each in ruled.json("ps", "-a") if each["name"] == "named")
    assert (listed["state"], listed["reason"], listed["alert_id"]) == ("killed", reason, alert["id"])


def test_others_are_only_named(ruled: Host, server: Server) -> None:
    with tunnel(ruled, server.port, "other", "-l", "job=rome-8") as running, Client(ruled.instance) as client:
        alert = alert_of(ruled, "other")
        assert (alert["response"], alert["response_id"]) == ("none (would kill)", "")
        assert "none (would kill)" in ruled.rubicon("alerts", "other").stdout
        with pytest.raises(TimeoutError):
            agent_of(client, "other").wait(timeout=0.5)
        assert running.poll() is None
        lines = [
            line for line in ruled.rubicon("logs", "plane", "-n", "1000").stdout.splitlines() if alert["id"] in line
        ]
        assert any("mode monitor" in line and "ssh-remote-forward: kill" in line for line in lines)
        assert ruled.rubicon("kill", "other", "--reason", "by hand").returncode == 0
        _, told = running.communicate(timeout=30)
    assert running.returncode == 137
    assert "agent other was killed: by hand" in told


def test_a_file_that_goes_wrong_later_is_found_by_doctor(ruled: Host, file: Path) -> None:
    assert next(each for each in ruled.json("doctor") if each["check"] == "settings")["state"] == "ok"
    file.write_text(RULES + "  - detector: nothing\n    action: kill\n")
    try:
        done = ruled.rubicon("doctor", "--json")
        assert done.returncode == 1
        found = next(line for line in map(json.loads, done.stdout.splitlines()) if line["check"] == "settings")
        assert found["state"] == "failed"
        assert f"{file}:9: there is no detector 'nothing'" in found["found"]
        assert "ssh-remote-forward" in found["advice"]
        reload = ruled.rubicon("rules", "--reload")
        assert reload.returncode == 2
        assert f"{file}:9: there is no detector 'nothing'" in reload.stderr
        assert [each["mode"] for each in ruled.json("rules")] == ["enforce", "monitor"]
    finally:
        file.write_text(RULES)


def test_what_is_read_again_decides_from_then_on(ruled: Host, file: Path, server: Server) -> None:
    with tunnel(ruled, server.port, "before") as running:
        assert alert_of(ruled, "before")["response"] == "none (would kill)"
        file.write_text("respond: {ssh-remote-forward: kill}\n")
        assert [each["mode"] for each in ruled.json("rules", "--reload")] == ["enforce"]
        with tunnel(ruled, server.port, "after") as other:
            _, told = other.communicate(timeout=30)
        assert other.returncode == 137
        assert "agent after was killed: ssh-remote-forward" in told
        assert running.poll() is None
        assert ruled.rubicon("kill", "before").returncode == 0
        assert running.wait(timeout=30) == 137
    file.write_text(RULES)
    assert ruled.rubicon("rules", "--reload").returncode == 0
