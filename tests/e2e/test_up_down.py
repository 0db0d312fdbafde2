"""`rubicon up`, what keeps the daemons running, and `rubicon down`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from rubicon.cli.daemons.logfile import LOG_BYTES
from sensor.kernel import host as kernel_host
from tests.e2e.host import Host, until
from tests.links import every_link, pinned_links

pytestmark = pytest.mark.root


def test_run_starts_what_does_not_run(own_host: Host) -> None:
    done = own_host.rubicon("run", "--", "true")
    assert done.returncode == 0
    assert "starting plane and sensor" in done.stderr
    assert own_host.daemon("rubicon-sensor")
    again = own_host.rubicon("up")
    assert (again.returncode, again.stdout) == (0, "plane and sensor were up already\n")


def test_doctor_sends_an_event_through_everything(host: Host) -> None:
    found = {each["check"]: each for each in host.json("doctor")}
    assert found["pipeline"]["state"] == "ok"
    assert found["kernel"]["state"] == "ok"


@pytest.mark.parametrize("name", ["rubicon-plane", "rubicon-sensor"])
def test_a_killed_daemon_is_started_again(host: Host, name: str) -> None:
    before = host.daemon(name)
    os.kill(before, signal.SIGKILL)
    until(lambda: host.daemon(name) not in (0, before))
    until(lambda: host.rubicon("doctor").returncode == 0)
    assert host.rubicon("run", "-q", "--", "true").returncode == 0


def test_up_wakes_a_sensor_that_nobody_else_wakes(host: Host) -> None:
    """The lock of `up` and `down` lies in the folder that the sensor guards: whoever opens it waits for the sensor."""
    supervisor, sensor = host.daemon("supervisor"), host.daemon("rubicon-sensor")
    for pid in (supervisor, sensor):
        os.kill(pid, signal.SIGSTOP)
    try:
        done = host.rubicon("up")
        assert done.returncode == 0, done.stderr
    finally:
        os.kill(sensor, signal.SIGCONT)
        os.kill(supervisor, signal.SIGCONT)
    assert host.daemon("rubicon-sensor") == sensor


def test_a_second_supervisor_is_refused(host: Host) -> None:
    record = host.instance.run_dir / "daemons.json"
    until(lambda: all(host.daemon(name) for name in ("supervisor", "rubicon-plane", "rubicon-sensor")))
    before = record.read_text()
    done = host.rubicon("up", "--foreground")
    assert done.returncode == 4
    assert f"supervised here already by process {host.daemon('supervisor')}" in done.stderr
    assert "rubicon down" in done.stderr
    assert record.read_text() == before


def test_daemons_whose_supervisor_was_killed_get_a_new_one(own_host: Host) -> None:
    assert own_host.rubicon("up").returncode == 0
    left = until(lambda: own_host.daemon("rubicon-sensor"))
    os.kill(own_host.daemon("supervisor"), signal.SIGKILL)
    with subprocess.Popen(own_host.command("up", "--foreground"), env=own_host.environment) as supervisor:
        try:
            until(lambda: own_host.daemon("supervisor") == supervisor.pid)
            assert own_host.daemon("rubicon-sensor") not in (0, left)
            assert not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text().split()[2]
            until(lambda: own_host.rubicon("doctor").returncode == 0)
        finally:
            supervisor.terminate()
    assert supervisor.returncode == 0
    assert not own_host.daemon("supervisor")


def test_as_a_service_it_tells_systemd_and_logs_to_the_journal(own_host: Host, tmp_path: Path) -> None:
    assert own_host.rubicon("down").returncode == 0
    for old in own_host.instance.log_dir.glob("*"):
        old.unlink()
    read, write = os.pipe()
    stderr = os.fstat(write)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, open(read) as journal:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(60)
        environment = {
            **own_host.environment,
            "JOURNAL_STREAM": f"{stderr.st_dev}:{stderr.st_ino}",
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
        }
        with subprocess.Popen(own_host.command("up", "--foreground"), env=environment, stderr=write) as service:
            os.close(write)
            try:
                assert told.recv(100) == b"READY=1"
                assert own_host.rubicon("doctor").returncode == 0
                logs = own_host.rubicon("logs")
                assert (logs.returncode, "journalctl -u rubicon" in logs.stderr) == (5, True)
            finally:
                service.terminate()
            assert told.recv(100) == b"STOPPING=1"
            lines = [json.loads(line) for line in journal]
        assert service.returncode == 0
    assert "sensor ready" in {line["event"] for line in lines if line["daemon"] == "sensor"}
    assert {line["daemon"] for line in lines} == {"plane", "sensor"}
    assert not list(own_host.instance.log_dir.glob("*"))


def test_up_says_why_a_daemon_does_not_start(own_host: Host) -> None:
    assert own_host.rubicon("down", "--yes").returncode == 0
    environment = {**own_host.environment, "RUBICON_SENSOR_KILL_PATIENCE_S": "never"}
    done = own_host.rubicon("up", env=environment)
    assert done.returncode == 3
    assert "did not come up within 20 s; sensor: " in done.stderr
    assert "RUBICON_SENSOR_KILL_PATIENCE_S" in done.stderr
    assert own_host.rubicon("down", "--yes").returncode == 0


def test_logs_are_shown(host: Host) -> None:
    assert host.rubicon("up").returncode == 0
    assert {line["daemon"] for line in host.json("logs")} >= {"plane", "sensor"}
    assert "sensor ready" in {line["event"] for line in host.json("logs", "sensor")}
    assert "sensor ready" in host.rubicon("logs", "sensor").stdout
    with (host.instance.log_dir / "plane.log").open("ab") as log:
        log.write(b"long\n" * (LOG_BYTES // 5 + 1))
    until((host.instance.log_dir / "plane.log.1").exists)
    assert host.rubicon("logs", "plane", "-n", "1").stdout.endswith("long\n"), "what came before is shown too"
    assert host.rubicon("run", "-q", "--", "true").returncode == 0
    assert host.rubicon("logs", "-n", "1").stdout.count("\n") >= 2


def test_down_asks_when_agents_live_and_leaves_nothing(host: Host) -> None:
    host.rubicon("run", "-q", "--name", "lives-on", "--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!")
    asked = host.rubicon("down", input="n\n", stdin=None)
    assert asked.returncode == 130
    assert "lives-on" in asked.stderr
    assert host.rubicon("kill", "lives-on").returncode == 0
    ours = pinned_links(host.instance)
    assert len(ours) > 10
    assert ours <= every_link()
    done = host.rubicon("down")
    assert done.returncode == 0, done.stderr
    assert not host.daemon("supervisor")
    assert not (kernel_host.cgroup_root() / host.instance.cgroup).exists()
    bpffs = kernel_host.bpffs()
    assert bpffs is None or not (bpffs / host.instance.name).exists()
    assert not list(host.instance.run_dir.glob("*.sock"))
    assert not ours & every_link()
    assert host.rubicon("ps").returncode == 3
    assert host.rubicon("doctor").returncode == 1
    assert host.rubicon("down").returncode == 0


def test_down_says_what_it_lets_go_also_when_all_daemons_were_killed(own_host: Host) -> None:
    assert own_host.rubicon("up").returncode == 0
    for name in ("held", "cut", "alone"):
        own_host.rubicon("run", "-q", "--name", name, "--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
    own_host.json("freeze", "held")
    own_host.json("isolate", "cut")
    left = [each["pid"] for name in ("held", "cut", "alone") for each in own_host.json("tree", name)]
    own_host.json("freeze", "--process", str(left[-1]))
    for name in ("supervisor", "rubicon-sensor", "rubicon-plane"):
        os.kill(own_host.daemon(name), signal.SIGKILL)
    asked = own_host.rubicon("down", input="n\n", stdin=None)
    assert asked.returncode == 130
    assert "3 agents live" in asked.stderr
    frozen, isolated = (line for line in asked.stderr.splitlines() if "let go by this" in line)
    assert (frozen.split(": ")[1], isolated.split(": ")[1]) == ("held, alone", "cut")
    done = own_host.rubicon("down", "--yes")
    assert done.returncode == 0, done.stderr
    for pid in left:
        until(lambda pid=pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
        os.kill(pid, signal.SIGKILL)


def test_what_down_lets_go_is_audited(own_host: Host) -> None:
    assert own_host.rubicon("up").returncode == 0
    own_host.rubicon("run", "-q", "--name", "held", "--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
    own_host.json("freeze", "held")
    (pid,) = (each["pid"] for each in own_host.json("tree", "held"))
    assert own_host.rubicon("down", "--yes").returncode == 0
    os.kill(pid, signal.SIGKILL)
    assert own_host.rubicon("up").returncode == 0  # what the last sensor could not ship any more is in its spool
    (told,) = until(lambda: [each for each in own_host.json("audit", "list") if each["action"] == "release"])
    assert (told["phase"], told["reason"]) == ("reported", "rubicon down")
    assert told["identity"].startswith("uid 0 pid ")
    assert "neither frozen nor isolated" in told["detail"]
