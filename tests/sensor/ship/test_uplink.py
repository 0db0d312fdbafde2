"""The stream against a real gRPC server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from rubicon.v1 import coverage_pb2, event_pb2, sensor_service_pb2
from sensor.errors import SensorError
from sensor.ship import uplink as module
from sensor.ship.backoff import Backoff
from sensor.ship.spool import Spool
from sensor.ship.uplink import Uplink
from tests.sensor.ship.events import batch, numbers, stamp
from tests.sensor.ship.plane import Plane, ack, command, welcome


class Stage:
    """A spool, its uplink, and the address at which a plane may listen."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/plane.sock"
        self.spool = Spool(folder / "spool", stamp)
        self.commands: list[str] = []
        self.welcomes: list[int] = []
        self.release = asyncio.Event()
        self.uplink = self.make()
        self.tokens = 0

    def make(self, **more: Any) -> Uplink:
        return Uplink(
            self.address,
            self.spool,
            lambda: sensor_service_pb2.Hello(host="host-1", boot_id="boot-1"),
            self.handle,
            token=self.token,
            on_welcome=self.welcomed,
            backoff=Backoff(0.01, 0.05),
            **more,
        )

    def token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    async def welcomed(self, welcome: sensor_service_pb2.Welcome) -> None:
        self.welcomes.append(welcome.acknowledged)

    async def handle(
        self, order: sensor_service_pb2.Command, interim: Callable[[sensor_service_pb2.CommandResult], None]
    ) -> sensor_service_pb2.CommandResult:
        self.commands.append(order.id)
        if order.probe.token == "applied":
            interim(sensor_service_pb2.CommandResult(id=order.id, interim=True))
            await self.release.wait()
        if order.probe.token == "slow":
            await self.release.wait()
        elif order.probe.token == "refused":
            raise SensorError("cannot")
        elif order.probe.token == "defect":
            raise RuntimeError("defect")
        return sensor_service_pb2.CommandResult()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.spool.close()


@contextlib.asynccontextmanager
async def running(uplink: Uplink, *planes: Plane) -> AsyncIterator[None]:
    task = asyncio.create_task(uplink.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for plane in planes:
            await plane.stop()


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.002)


async def test_hello_then_batches_then_the_spool_is_empty(stage: Stage) -> None:
    plane = Plane()
    await plane.start(stage.address)
    first = stage.spool.append(batch(1))
    async with running(stage.uplink, plane):
        await until(lambda: plane.numbers == [1])
        stage.spool.append(batch(2, count=3))
        await until(lambda: stage.spool.status().batches == 0)
        assert plane.numbers == [1, 2, 3, 4]
        assert (plane.hellos[0].host, plane.hellos[0].first_sequence) == ("host-1", first)
        assert plane.batches[0].clock_offset_ns == 42
        assert plane.metadata[0]["authorization"] == "Bearer token-1"
        assert (stage.uplink.state, stage.welcomes) == ("connected", [0])


async def test_a_new_batch_is_on_the_wire_at_once(stage: Stage) -> None:
    plane = Plane()
    await plane.start(stage.address)
    waits = []
    async with running(stage.uplink, plane):
        await until(lambda: stage.uplink.state == "connected")
        for number in range(20):
            await asyncio.sleep(0.01)
            start = asyncio.get_running_loop().time()
            await asyncio.to_thread(stage.spool.append, batch(number))
            await until(lambda n=number: len(plane.batches) == n + 1)  # type: ignore[misc]
            waits.append(asyncio.get_running_loop().time() - start)
    assert sorted(waits)[10] < 0.02


async def test_without_a_plane_batches_wait_and_it_is_said_once(stage: Stage) -> None:
    with capture_logs() as logs:
        async with running(stage.uplink):
            for number in range(10):
                stage.spool.append(batch(number))
            await until(lambda: stage.tokens >= 4)
            plane = Plane()
            await plane.start(stage.address)
            await until(lambda: len(plane.numbers) == 10)
            await plane.stop()
    down = [log for log in logs if log["event"] == "uplink_down"]
    assert len(down) <= 2
    assert down[0]["reason"] == "UNAVAILABLE"


async def test_unacknowledged_batches_come_again_on_the_next_stream(stage: Stage) -> None:
    async def silent(plane: Plane, request: sensor_service_pb2.ConnectRequest) -> list[Any]:
        return [welcome(0)] if request.HasField("hello") else []

    first, second = Plane(silent), Plane()
    await first.start(stage.address)
    sequences = [stage.spool.append(batch(number)) for number in (1, 2, 3)]
    async with running(stage.uplink, second):
        await until(lambda: first.numbers == [1, 2, 3])
        await first.stop()
        second.acknowledged = sequences[0]  # the first plane had stored one, and its answer was lost
        await second.start(stage.address)
        await until(lambda: second.numbers == [2, 3])
        await until(lambda: stage.spool.status().batches == 0)
        assert stage.welcomes == [0, sequences[0]]
        assert second.metadata[0]["authorization"] != "Bearer token-1"


async def test_acknowledgements_out_of_order_twice_and_of_what_was_never_sent(stage: Stage) -> None:
    seen: list[int] = []

    async def odd(plane: Plane, request: sensor_service_pb2.ConnectRequest) -> list[Any]:
        if not request.HasField("batch"):
            return plane.usual(request)
        seen.append(request.batch.sequence)
        if len(seen) < 3:
            return []
        return [ack(seen[-1] + 10**6), ack(seen[1]), ack(seen[0]), ack(seen[1]), ack(0)]

    plane = Plane(odd)
    await plane.start(stage.address)
    for number in (1, 2, 3):
        stage.spool.append(batch(number))
    async with running(stage.uplink, plane):
        await until(lambda: stage.spool.acknowledged == seen[1] if len(seen) == 3 else False)
        await asyncio.sleep(0.05)
        assert numbers(stage.spool)[-1] == 3
        assert stage.spool.first_sequence == seen[2]
        assert stage.uplink.state == "connected"


async def test_the_window_bounds_what_is_in_flight(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_BATCHES", 4)

    async def silent(plane: Plane, request: sensor_service_pb2.ConnectRequest) -> list[Any]:
        return [welcome(0)] if request.HasField("hello") else []

    plane = Plane(silent)
    await plane.start(stage.address)
    sequences = [stage.spool.append(batch(number)) for number in range(20)]
    async with running(stage.uplink, plane):
        await until(lambda: len(plane.batches) == 4)
        await asyncio.sleep(0.05)
        assert len(plane.batches) == 4
        await plane.outgoing.put(ack(sequences[1]))
        await until(lambda: len(plane.batches) == 6)
        await plane.outgoing.put(ack(sequences[5]))
        await until(lambda: len(plane.batches) == 10)


async def test_a_plane_that_hangs_is_left_for_a_new_stream(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.1)
    monkeypatch.setattr(module, "WELCOME_SECONDS", 0.2)
    deaf = True

    async def answer(plane: Plane, request: sensor_service_pb2.ConnectRequest) -> list[Any]:
        if deaf:
            return [welcome(0)] if request.HasField("hello") and len(plane.hellos) > 1 else []
        return plane.usual(request)

    plane = Plane(answer)
    await plane.start(stage.address)
    stage.spool.append(batch(1))
    async with running(stage.uplink, plane):
        await until(lambda: len(plane.hellos) >= 3)  # no welcome, then no acknowledgement
        deaf = False
        await until(lambda: stage.spool.status().batches == 0)


async def test_commands_run_beside_batches_and_their_results_go_up(stage: Stage) -> None:
    plane = Plane()
    await plane.start(stage.address)
    async with running(stage.uplink, plane):
        await until(lambda: stage.uplink.state == "connected")
        for identity, token in (("1", "slow"), ("2", "refused"), ("3", "defect"), ("4", "fine")):
            await plane.outgoing.put(command(identity, token))
        stage.spool.append(batch(1))
        await until(lambda: len(plane.results) == 3 and plane.numbers == [1])
        stage.release.set()
        await until(lambda: len(plane.results) == 4)
        results = {result.id: result for result in plane.results}
        assert (results["2"].error_reason, results["2"].error) == ("INTERNAL", "cannot")
        assert results["3"].error_reason == "INTERNAL"
        assert "defect" in results["3"].error
        assert not results["1"].error
        assert plane.results[-1].id == "1"


async def test_a_result_outlives_the_stream_and_a_repeated_command_does_not_run_again(stage: Stage) -> None:
    first, second = Plane(), Plane()
    await first.start(stage.address)
    async with running(stage.uplink, second):
        await until(lambda: stage.uplink.state == "connected")
        await first.outgoing.put(command("kill-1", "slow"))
        await until(lambda: stage.commands == ["kill-1"])
        await first.stop()
        stage.release.set()
        await second.start(stage.address)
        await until(lambda: [result.id for result in second.results] == ["kill-1"])
        await second.outgoing.put(command("kill-1", "slow"))
        await until(lambda: len(second.results) >= 2)
        assert stage.commands == ["kill-1"]


async def test_what_is_said_before_a_result_goes_up_before_it_and_never_again(stage: Stage) -> None:
    first, second = Plane(), Plane()
    await first.start(stage.address)
    async with running(stage.uplink, second):
        await until(lambda: stage.uplink.state == "connected")
        await first.outgoing.put(command("kill-1", "applied"))
        await until(lambda: len(first.results) == 1)
        stage.release.set()
        await until(lambda: len(first.results) == 2)
        assert [(result.id, result.interim) for result in first.results] == [("kill-1", True), ("kill-1", False)]
        await first.stop()
        await second.start(stage.address)
        await until(lambda: len(second.results) == 1)
        assert [(result.id, result.interim) for result in second.results] == [("kill-1", False)]


async def test_changed_coverage_is_sent(stage: Stage) -> None:
    plane = Plane()
    await plane.start(stage.address)
    async with running(stage.uplink, plane):
        await until(lambda: stage.uplink.state == "connected")
        stage.uplink.send_coverage(coverage_pb2.Coverage(host="host-1"))
        await until(lambda: len(plane.coverages) == 1)


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "HOST_MISMATCH", "host name"),
        (grpc.StatusCode.ALREADY_EXISTS, "SENSOR_DUPLICATE", "stop one"),
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", ""),
        (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "free space"),
    ],
)
async def test_a_typed_refusal_says_what_to_do_and_is_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode, reason: str, hint: str
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(stage.uplink._backoff, "next", lambda at_least: waits.append(at_least) or 0.01)
    plane = Plane()
    plane.refuse = (code, reason)
    await plane.start(stage.address)
    stage.spool.append(batch(1))
    with capture_logs() as logs:
        async with running(stage.uplink, plane):
            await until(lambda: stage.uplink.last_error == reason)
            plane.refuse = None
            await until(lambda: stage.spool.status().batches == 0)
    (down,) = [log for log in logs if log["event"] == "uplink_down" and log["reason"] == reason]
    assert hint in down["action"]
    assert (max(waits) >= 1) == bool(hint)


async def test_a_batch_that_the_plane_will_not_take_is_set_aside_and_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stage.uplink._backoff, "next", lambda at_least: 0.01)
    plane = Plane()
    await plane.start(stage.address, max_receive_message_length=20_000)
    stage.spool.append(batch(1))
    stage.spool.append(batch(2, padding=50_000))
    stage.spool.append(batch(3))
    async with running(stage.uplink, plane):
        await until(lambda: 3 in plane.numbers)
        await until(lambda: stage.spool.status().batches == 0)
        losses = [e for b in plane.batches for e in b.events if e.HasField("loss")]
        assert [(e.agent_id, e.loss.count, e.loss.reason) for e in losses] == [
            ("abcdef012345", 1, event_pb2.LOSS_REASON_UNDECODABLE)
        ]
        assert set(plane.numbers) >= {1, 3}
        assert len(list((tmp_path / "spool").glob("*.refused"))) == 1


async def test_a_missing_token_does_not_end_the_uplink(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def token() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise PermissionError("token.key")
        return "t"

    monkeypatch.setattr(stage.uplink, "_token", token)
    monkeypatch.setattr(stage.uplink._backoff, "next", lambda at_least: 0.01)
    plane = Plane()
    await plane.start(stage.address)
    async with running(stage.uplink, plane):
        await until(lambda: stage.uplink.state == "connected")
