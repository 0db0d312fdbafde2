"""A settings file that freezes some for a reverse tunnel and isolates others, on a real host with a real hit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon import Client
from sensor.act.cgroup import Cgroup
from tests.e2e.host import Host, until
from tests.e2e.tunnel import Server, agent_of, alert_of, tunnel

pytestmark = pytest.mark.root
RULES = """
respond:
  - detector: ssh-remote-forward
    labels: {job: freeze}
    action: freeze
  - detector: ssh-remote-forward
    labels: {job: isolate}
    action: isolate
"""


@pytest.fixture(scope="module")
def ruled(own_host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Up, with RULES."""
    file = tmp_path_factory.mktemp("settings") / "rubicon.yaml"
    file.write_text(RULES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUBICON_PLANE_SETTINGS_FILE", str(file))
        done = own_host.rubicon("up")
        assert done.returncode == 0, done.stderr
        yield own_host


@contextlib.contextmanager
def ended(host: Host, name: str) -> Iterator[None]:
    """However the test ends: nobody waits for an agent that is stopped."""
    try:
        yield
    finally:
        host.rubicon("kill", name)


def listed(host: Host, name: str) -> tuple[str, bool, bool]:
    agent = next(each for each in host.json("ps", "-a") if each["name"] == name)
    return agent["state"], agent["frozen"], agent["isolated"]


@pytest.mark.parametrize("action", ["freeze", "isolate"])
def test_whom_the_label_names_is_contained_and_released_by_hand(ruled: Host, server: Server, action: str) -> None:
    name = f"to-{action}"
    with (
        tunnel(ruled, server.port, name, "-l", f"job={action}") as running,
        ended(ruled, name),
        Client(ruled.instance) as client,
    ):
        agent = agent_of(client, name)
        response = until(lambda: next((each for each in agent.responses() if each.verified), None))
        alert = alert_of(ruled, name)
        assert (response.action, response.alert_id, response.survivors) == (action, alert["id"], ())
        assert response.requested_by == f"policy (ssh-remote-forward: {action} [job={action}])"
        assert response.reason == f"ssh-remote-forward: {alert['title']} (high)"
        assert (alert["response"], alert["response_id"]) == (action, response.id)
        until(lambda: listed(ruled, name) == ("running", action == "freeze", action == "isolate"))
        assert running.poll() is None
        connection = server.held[-1]
        if action == "isolate":
            assert response.destroyed == 1
            until(lambda: server.is_cut(connection))
        else:
            assert not server.is_cut(connection)
            groups = {Path(f"/proc/{each.pid}/cgroup").read_text() for each in agent.tree().processes}
            (group,) = {
                line.rpartition(":")[2] for text in groups for line in text.splitlines() if line.startswith("0:")
            }
            assert "frozen 1" in (Cgroup.at(group).folder / "cgroup.events").read_text()
        audited = [each for each in ruled.json("audit", "list") if each["response"] == response.id]
        assert {(each["action"], each["alert"]) for each in audited} == {(action, alert["id"])}
        assert [each["state"] for each in ruled.json("release", name)] == ["verified"]
        until(lambda: listed(ruled, name) == ("running", False, False))
        assert ruled.rubicon("kill", name).returncode == 0
        running.communicate(timeout=60)
        assert running.returncode == 137
        assert len(list(agent.responses())) == 3, "what was answered is not answered again"


def test_nobody_else_is_touched(ruled: Host, server: Server) -> None:
    with tunnel(ruled, server.port, "other", "-l", "job=other") as running, ended(ruled, "other"):
        assert alert_of(ruled, "other")["response"] in ("", "none")
        assert listed(ruled, "other") == ("running", False, False)
        assert ruled.rubicon("kill", "other").returncode == 0
        running.communicate(timeout=60)
