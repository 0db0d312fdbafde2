"""rubicon-plane as a process: start, refuse, stop, die, come back."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from controlplane.api.serving import only_one
from controlplane.settings import Settings, StoreSettings, WatchSettings, WireSettings
from rubicon.v1 import agent_pb2, agent_service_pb2, alert_service_pb2, event_service_pb2, tokens
from rubicon.v1.instance import Instance
from tests.controlplane.builders import AGENT, Kernel, key, tunnel
from tests.controlplane.stage import Stage

ROOT = key(100)
PLANE = Path(sys.executable).with_name("rubicon-plane")


class Daemon(Stage):
    """The console script in an instance of its own; the same calls as a stage in this process."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance.run_dir)
        self.instance = instance
        self.key = tokens.ensure_key(instance)
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Daemon:
        environment = {**os.environ, "RUBICON_INSTANCE": self.instance.name.removeprefix("rubicon-")}
        self.process = subprocess.Popen([PLANE], env=environment)
        stub = health_pb2_grpc.HealthStub(self.channel())
        check = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=20)
        assert (await check).status == health_pb2.HealthCheckResponse.SERVING
        return self

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    async def hang_up(self) -> None:
        for link in self.links:
            await link.close()
        for channel in self._channels:
            await channel.close()
        self._channels.clear()
        self.links.clear()


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    monkeypatch.setenv("RUBICON_INSTANCE", f"t-plane-{os.getpid()}")
    made = Instance.current()
    yield made
    for folder in (made.run_dir, made.state_dir):
        subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture
async def daemon(instance: Instance) -> AsyncIterator[Daemon]:
    running = Daemon(instance)
    yield running
    await running.hang_up()
    if running.process is not None:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait(20)


@pytest.mark.root
async def test_paths_and_modes(daemon: Daemon) -> None:
    await daemon.start()
    instance = daemon.instance
    assert stat.S_IMODE(instance.run_dir.stat().st_mode) == 0o750
    assert stat.S_IMODE(instance.plane_socket.stat().st_mode) == 0o660
    assert stat.S_IMODE(instance.store_dir.stat().st_mode) == 0o700
    assert daemon.end(signal.SIGTERM) == 0
    assert not instance.plane_socket.exists()


@pytest.mark.root
async def test_one_plane_an_instance(daemon: Daemon) -> None:
    await daemon.start()
    second = subprocess.run([PLANE], capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert "another plane" in second.stderr
    daemon.end(signal.SIGKILL)
    await daemon.hang_up()
    await daemon.start()
    assert daemon.end(signal.SIGINT) == 0


@pytest.mark.root
async def test_killed_plane_knows_all_it_acknowledged(daemon: Daemon) -> None:
    """SIGKILL in the middle, three times: agents, alerts and events are there, and nothing is there twice."""
    kernel = Kernel()
    await daemon.start()
    link = await daemon.connect()
    await link.deliver([kernel.enrol(ROOT), kernel.exec(ROOT, "bash")])
    batches = [[kernel.fork(ROOT, key(200 + n)), *tunnel(kernel, key(200 + n), n + 1)] for n in range(3)]
    for n, batch in enumerate(batches):
        await link.deliver(batch, sequence=n + 2)
        await link.send([kernel.exec(ROOT, "in flight")], sequence=n + 3)
        daemon.end(signal.SIGKILL)
        await daemon.hang_up()
        await daemon.start()
        link = await daemon.connect(first_sequence=n + 2)
        await link.deliver(batch, sequence=n + 2)
    api = daemon.api()
    alerts = (await api.ListAlerts(alert_service_pb2.ListAlertsRequest())).alerts
    assert len(alerts) == len({a.id for a in alerts}) == 6
    agent = (await api.GetAgent(agent_service_pb2.GetAgentRequest(agent=AGENT))).agent
    assert (agent.state, agent.processes, agent.alerts) == (agent_pb2.AGENT_STATE_RUNNING, 4, 6)
    stream = api.StreamEvents(event_service_pb2.StreamEventsRequest())
    records = [(e.event.record.cpu, e.event.record.sequence) async for r in stream for e in r.events]
    assert len(records) == len(set(records))
    assert {sequence for cpu, sequence in records if cpu == 0} >= set(range(1, 8))


@pytest.mark.root
async def test_stops_while_watchers_and_sensors_are_there(daemon: Daemon) -> None:
    await daemon.start()
    link = await daemon.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    watch = daemon.api().WatchAlerts(alert_service_pb2.WatchAlertsRequest())
    await anext(aiter(watch))
    follow = daemon.api().StreamEvents(event_service_pb2.StreamEventsRequest(follow=True))
    await anext(aiter(follow))
    begin = time.monotonic()
    ended = await asyncio.to_thread(daemon.end, signal.SIGTERM)
    assert ended == 0
    assert time.monotonic() - begin < 2
    for call in (watch, follow):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(call))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.root
def test_refuses_to_start_on_a_damaged_store(instance: Instance) -> None:
    instance.store_dir.mkdir(parents=True)
    (instance.store_dir / "rubicon.db").write_bytes(b"no database at all, whatever it says" * 100)
    done = subprocess.run([PLANE], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "store cannot be used" in done.stderr


def test_bad_settings_and_instance() -> None:
    for name, value in (("RUBICON_PLANE_STORE_RETRY", "soon"), ("RUBICON_INSTANCE", "../x")):
        environment = {**os.environ, name: value}
        done = subprocess.run([PLANE], capture_output=True, text=True, timeout=20, env=environment, check=False)
        assert done.returncode == 2
        assert name in done.stderr


def test_a_settings_file_that_cannot_be_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rubicon.yaml"
    path.write_text("respond:\n  ssh-remote-forward: stop\n")
    environment = {**os.environ, "RUBICON_PLANE_SETTINGS_FILE": str(path)}
    for arguments in ([], ["--check"]):
        done = subprocess.run([PLANE, *arguments], capture_output=True, text=True, timeout=20, env=environment)
        assert done.returncode == 2
        assert f"{path}:2: there is no action 'stop'; use kill, freeze, isolate" in done.stderr
    path.write_text("respond:\n  ssh-remote-forward: kill\n")
    done = subprocess.run([PLANE, "--check"], capture_output=True, text=True, timeout=20, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    path.unlink()
    done = subprocess.run([PLANE, "--check"], capture_output=True, text=True, timeout=20, env=environment)
    assert (done.returncode, f"{path}: cannot be read: No such file" in done.stderr) == (2, True)


def test_settings() -> None:
    given = Settings.from_environment(
        {
            "RUBICON_PLANE_WATCH_QUEUE": "7",
            "RUBICON_PLANE_STORE_BUSY_TIMEOUT": "0.5",
            "RUBICON_PLANE_SETTINGS_FILE": "/etc/x.yaml",
            "X": "",
        }
    )
    assert given.settings.file == "/etc/x.yaml"
    assert (given.watch.queue, given.store.busy_timeout) == (7, 0.5)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RUBICON_PLANE_WATCH_NONE", "1"),
        ("RUBICON_PLANE_X_Y", "1"),
        ("RUBICON_PLANE_WATCH_QUEUE", "-1"),
        ("RUBICON_PLANE_WATCH_QUEUE", "1.5"),
        ("RUBICON_PLANE_STORE_RETRY", "0"),
        ("RUBICON_PLANE_STORE_RETRY", "nan"),
        ("RUBICON_PLANE_STORE_RETRY", "inf"),
        ("RUBICON_PLANE_STORE_RETRY", "soon"),
        ("RUBICON_PLANE_SETTINGS_FILE", "rubicon.yaml"),
        ("RUBICON_PLANE_SETTINGS_FILE", ""),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize("concern", [StoreSettings, WireSettings, WatchSettings])
def test_each_setting_is_documented(concern: type) -> None:
    import ast
    import inspect

    (tree,) = ast.parse(inspect.getsource(concern)).body
    assert isinstance(tree, ast.ClassDef)
    for at, node in enumerate(tree.body):
        if isinstance(node, ast.AnnAssign):
            after = tree.body[at + 1]
            assert isinstance(after, ast.Expr), ast.unparse(node)
            assert isinstance(after.value, ast.Constant), ast.unparse(node)


def test_the_lock_is_released(tmp_path: Path) -> None:
    with only_one(tmp_path / "lock"), pytest.raises(BlockingIOError), only_one(tmp_path / "lock"):
        pass
    with only_one(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text().strip() == str(os.getpid())
