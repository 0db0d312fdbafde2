"""Agents that ask others to work for them, and honest ones, on a real kernel, judged by the detector "work-by-proxy"."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rubicon.v1 import alert_pb2
from tests.controlplane.detectors.golden import alerts_of, write_golden
from tests.e2e.sensor import Sensor, sensor, until
from tests.e2e.ssh.samples import Cleaner
from tests.e2e.test_tampering import SAMPLES, alerts, events_of
from tests.turns import turn

# Others may hold the lock; brokers are known by their Unix sockets.
pytestmark = [pytest.mark.root, pytest.mark.timeout(600), pytest.mark.needs("unix_connect")]
DETECTOR = "work-by-proxy"
INFO, MEDIUM = alert_pb2.SEVERITY_INFO, alert_pb2.SEVERITY_MEDIUM
HIGH, CRITICAL = alert_pb2.SEVERITY_HIGH, alert_pb2.SEVERITY_CRITICAL
TMUX = "tmux -f /dev/null -S {dir}"
SSH = "ssh -F none -i {dir}/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
SSHD = "/usr/sbin/sshd -D -e -f {dir}/sshd_config"
BUS = "unix:path={dir}/system_bus_socket"
START = (
    "dbus-send --bus=" + BUS + " --print-reply --dest=org.freedesktop.systemd1 /org/freedesktop/systemd1 "
    "org.freedesktop.systemd1.Manager.StartTransientUnit string:a.service string:fail array:string: array:string: || true"
)
ENGINE = """
import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    address_string = lambda self: "unix"
    log_message = lambda self, *words: None
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"[]")
server = socketserver.UnixStreamServer(sys.argv[1], Handler)
print("ready", flush=True)
server.serve_forever()
"""
ASKS = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
    "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); s.recv(99)"
)


@dataclass(frozen=True)
class Scenario:
    """What an agent's shell does in a folder {dir}, with {python}; which alert comes of it, or none."""

    name: str
    script: str
    title: str = ""
    severity: int = 0
    program: str = ""
    peer: str = ""
    """Name of the process that was found listening, in the evidence."""
    sample: bool = True
    """Keep the run as a sample: the long ones are not."""

    @property
    def path(self) -> Path:
        return SAMPLES / "work_by_proxy" / f"{'hit' if self.title else 'miss'}-{self.name}.jsonl"


SCENARIOS = [
    Scenario("tmux", TMUX + "/there new-window -d true", "Work by proxy: tmux", CRITICAL, "tmux", "tmux: server"),
    Scenario(
        "tmux-renamed",
        "cd {dir} && ./worker -S there new-window -d true",
        "Work by proxy: tmux",
        CRITICAL,
        "worker",
        "tmux: server",
    ),
    Scenario(
        "engine",
        '{python} -S -c "' + ASKS + '" {dir}/docker.sock',
        "Work by proxy: docker",
        CRITICAL,
        "python3",
        "python3",
    ),
    Scenario(
        "engine-that-is-not-there",
        '{python} -S -c "' + ASKS + '" {dir}/podman.sock 2>/dev/null || true',
        "Work by proxy: podman",
        MEDIUM,
        "python3",
    ),
    Scenario("bus-start", START, "Work by proxy: D-Bus", CRITICAL, "dbus-send", "dbus-daemon"),
    Scenario(
        "systemd-run",
        "DBUS_SESSION_BUS_ADDRESS=" + BUS + " XDG_RUNTIME_DIR={dir} systemd-run --user true || true",
        "Work by proxy: D-Bus",
        CRITICAL,
        "systemd-run",
        "dbus-daemon",
    ),
    Scenario("bus", "busctl --address=" + BUS + " list >/dev/null", "Asked D-Bus", INFO, "busctl", "dbus-daemon"),
    Scenario("at", "echo true | at -f {dir}/none now + 60 minutes || true", "Work by proxy: at", CRITICAL, "at"),
    Scenario(
        "crontab", "crontab -T /dev/null; crontab {dir}/none || true", "Work by proxy: crontab", CRITICAL, "crontab"
    ),
    Scenario("ssh", SSH + " -p {port} root@127.0.0.1 true", "Work by proxy: ssh on this host", CRITICAL, "ssh"),
    Scenario(
        "own-tmux",
        TMUX + "/own new-session -d 'sleep 60'; " + TMUX + "/own new-window -d true; " + TMUX + "/own kill-server",
    ),
    Scenario(
        "own-ssh",
        "sed -i s/{port}/{other}/ {dir}/sshd_config; "
        + SSHD
        + " 2>/dev/null & until nc -z 127.0.0.1 {other}; do sleep 0.5; done; "
        + SSH
        + " -p {other} root@127.0.0.1 true; kill $!",
        sample=False,
    ),
    Scenario(
        "own-engine",
        "mkdir {dir}/own-engine; {python} -S {dir}/engine.py {dir}/own-engine/docker.sock & "
        "until [ -S {dir}/own-engine/docker.sock ]; do sleep 0.1; done; sleep 0.5; "
        '{python} -S -c "' + ASKS + '" {dir}/own-engine/docker.sock; kill $!',
    ),
    Scenario("looks-at-queues", "atq; crontab -l; at -V; true"),
    Scenario(
        "honest",
        "cd {dir} && git init -q repository && git -C repository -c user.name=a -c user.email=a@b commit -q --allow-empty "
        "-m first && git clone -q repository clone && printf 'all:\\n\\ttrue\\n' > Makefile && make -s && {python} -c "
        '\'import socket, subprocess; subprocess.run(["true"]); socket.getaddrinfo("localhost", 80)\' && sudo -n true && '
        "getent passwd root >/dev/null && logger -s honest 2>/dev/null; "
        "apt-get -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null -o Dir::State={dir}/apt "
        "-o Dir::Cache={dir}/apt update -q >/dev/null 2>&1; true",
        sample=False,
    ),
]


@dataclass
class House:
    """Brokers that were there before the agents, and the folder of their sockets."""

    dir: Path
    port: int
    other: int

    def words(self, scenario: Scenario) -> str:
        places = {"dir": self.dir, "python": "/usr/bin/python3", "port": self.port, "other": self.other}
        text = scenario.script
        for name, value in places.items():
            text = text.replace("{" + name + "}", str(value))
        return text


def started(stack: contextlib.ExitStack, *command: str, ready: Callable[[], object]) -> None:
    """A broker, up."""
    process = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    )
    stack.callback(process.kill)
    until(ready)


def reached(port: int) -> bool:
    return not subprocess.run(["nc", "-z", "127.0.0.1", str(port)]).returncode


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """tmux, an engine's socket, a D-Bus daemon and sshd, all of them nobody's."""
    made = House(tmp_path_factory.mktemp("house"), *free_ports())
    folder = made.dir
    shutil.copy("/usr/bin/tmux", folder / "worker")
    (folder / "engine.py").write_text(ENGINE)
    for name in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(
        f"Port {made.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nLogLevel ERROR\n"
    )
    (folder / "apt/lists/partial").mkdir(parents=True)
    tmux = ["tmux", "-f", "/dev/null", "-S", str(folder / "there")]
    with contextlib.ExitStack() as stack:
        subprocess.run([*tmux, "new-session", "-d", "sleep 600"], check=True)
        stack.callback(subprocess.run, [*tmux, "kill-server"])
        place = folder / "docker.sock"
        started(stack, sys.executable, "-S", str(folder / "engine.py"), str(place), ready=place.exists)
        bus = folder / "system_bus_socket"
        started(
            stack, "dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address=unix:path={bus}", ready=bus.exists
        )
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        started(
            stack, "/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config"), ready=lambda: reached(made.port)
        )
        yield made


@pytest.fixture(scope="module")
def watching(house: House) -> Iterator[Sensor]:
    """A sensor without a plane: everything stays in the spool."""
    with turn(), sensor() as running:
        running.start()
        yield running


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_agent(watching: Sensor, house: House, scenario: Scenario, golden: bool) -> None:
    answer, child = watching.launch("sh", "-c", house.words(scenario), name=scenario.name)
    agent = answer["agent_id"]
    assert child.wait(120) == 0
    until(lambda: any(event.HasField("finish") for event in events_of(watching, agent)))
    events = events_of(watching, agent)
    every = alerts(events)
    found = [alert for alert in every if alert.detector == DETECTOR]
    assert [(each.title, each.severity) for each in found] == (
        [(scenario.title, scenario.severity)] if scenario.title else []
    )
    if not scenario.title:
        assert max((alert.severity for alert in every), default=0) <= INFO
    for alert in found:
        assert alert.process
        assert alert.process.exe.rpartition("/")[2].startswith(scenario.program)
        assert scenario.peer in alert.evidence[-1].text
    if golden and scenario.sample:
        scenario.path.parent.mkdir(parents=True, exist_ok=True)
        places = [
            (watching.instance.name, "rubicon"),
            (agent, "a00000000001"),
            (str(house.dir), "/tmp/house"),
            (str(os.getpid()), "4242"),
        ]
        lines = Cleaner(events, places, kept=("listen",)).lines()
        scenario.path.write_text("\n".join(lines) + "\n")
        if scenario.title:
            write_golden(scenario.path)
        again = [(alert.title, alert.severity) for alert in alerts_of(scenario.path)]
        assert again == [(alert.title, alert.severity) for alert in found]
