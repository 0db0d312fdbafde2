"""The sensors that are connected now, and commands to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.errors import CommandTimeout, InvalidArgument, SensorDuplicate, SensorUnreachable
from controlplane.model import Boot
from rubicon.v1 import coverage_pb2, ids, response_pb2, sensor_service_pb2

HANDOVER = 3.0
"""Seconds that a new stream of a host waits for the old one to end: a restarted sensor is faster than its predecessor's
death is noticed."""

ARRIVES = 60.0
"""Seconds that something to be done on a host waits for its sensor: longer than the sensor's longest pause between two
attempts to connect."""

RETURNS = 3.0
"""Seconds that a command waits for a sensor that is not connected: after the death of the plane or of the sensor its
supervisor starts it anew, and the stream stands again in less."""


Interim = Callable[[response_pb2.Response], None]
"""Is told how far a response is before its result."""


@dataclass(slots=True, eq=False)
class Sensor:
    """One live stream. `process` is the sensor's (pid, start time) as attested."""

    boot: Boot
    process: tuple[int, int]
    send: Callable[[sensor_service_pb2.ConnectResponse], None]
    close: Callable[[], None]
    """Ends the stream."""
    coverage: coverage_pb2.Coverage
    capabilities: frozenset[str] = frozenset()
    version: str = ""
    results: dict[str, asyncio.Future[sensor_service_pb2.CommandResult]] = field(default_factory=dict)
    interims: dict[str, Interim] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Sensors:
    """Registry of live streams: one a host."""

    def __init__(self, cover: Callable[[Boot, coverage_pb2.Coverage], None]) -> None:
        """
        Args:
            cover: is told what a host sees, whenever that changes.
        """
        self._tell = cover
        self._live: dict[str, Sensor] = {}
        self._coverage: dict[str, coverage_pb2.Coverage] = {}
        self._arrived = asyncio.Event()
        self._stopping = False
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Let nobody in yet; streams and commands wait for `open`."""
        self._open.clear()

    def open(self) -> None:
        """Let sensors in."""
        self._open.set()

    async def add(self, sensor: Sensor) -> None:
        """Take a stream in.

        A stream of the very same sensor process takes the place of its old one (it reconnected). Another process waits
        until the old stream has ended.

        Raises:
            SensorDuplicate: the old one lives on.
        """
        await self._open.wait()
        host = sensor.boot.host
        old = self._live.get(host)
        if old is not None:
            if old.process == sensor.process:
                old.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANDOVER):
                    await old.ended.wait()
        if host in self._live:
            pid = self._live[host].process[0]
            raise SensorDuplicate(f"another sensor of host {host} is connected (pid {pid})")
        self._live[host] = sensor
        self._arrived.set()
        self._arrived = asyncio.Event()
        self.cover(sensor, sensor.coverage)

    def remove(self, sensor: Sensor) -> None:
        """The stream has ended: whoever waits for a result learns it."""
        if self._live.get(sensor.boot.host) is sensor:
            del self._live[sensor.boot.host]
        for waiting in sensor.results.values():
            if self._stopping:
                waiting.cancel()
            elif not waiting.done():
                waiting.set_exception(SensorUnreachable(f"the sensor of host {sensor.boot.host} went away"))
        sensor.results.clear()
        sensor.ended.set()

    def cover(self, sensor: Sensor, coverage: coverage_pb2.Coverage) -> None:
        """Note what the host sees now."""
        kept = coverage_pb2.Coverage()
        kept.CopyFrom(coverage)
        kept.host = sensor.boot.host
        sensor.coverage = kept
        self._coverage[sensor.boot.host] = kept
        self._tell(sensor.boot, kept)

    def coverage(self, host: str = "") -> list[coverage_pb2.Coverage]:
        """Coverage of every host seen since the start (or of one), with whether it is connected now."""
        out = []
        for name in sorted(self._coverage):
            if host in ("", name):
                one = coverage_pb2.Coverage()
                one.CopyFrom(self._coverage[name])
                one.connected = name in self._live
                out.append(one)
        return out

    @property
    def connected(self) -> int:
        """How many are."""
        return len(self._live)

    def boot(self, host: str) -> Boot | None:
        """The boot of the connected host, None when it is not connected."""
        sensor = self._live.get(host)
        return sensor.boot if sensor else None

    async def wait_for(self, host: str, timeout: float = ARRIVES) -> bool:
        """Wait until the host's sensor is connected; False when it does not come within `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while host not in self._live:
                    await self._arrived.wait()
        return host in self._live

    def pick(self, host: str) -> str:
        """The host that a call means: the one given, or the only one.

        Raises:
            SensorUnreachable: it is not connected, or none is.
            InvalidArgument: several are connected and none was named.
        """
        if host:
            if host not in self._live:
                raise SensorUnreachable(f"no sensor of host {host} is connected")
            return host
        if not self._live:
            raise SensorUnreachable("no sensor is connected")
        if len(self._live) > 1:
            raise InvalidArgument(f"several hosts are connected: name one of {', '.join(sorted(self._live))}")
        return next(iter(self._live))

    async def command(
        self, host: str, command: sensor_service_pb2.Command, timeout: float, interim: Interim = lambda _: None
    ) -> sensor_service_pb2.CommandResult:
        """Send a command down and wait for what became of it. An empty id is filled in.

        Args:
            interim: is told, before this returns, of a response that is applied and not verified yet.

        Raises:
            SensorUnreachable: no sensor of that host is connected, nor within 3 s (RETURNS), or it went away before it
                answered.
            CommandTimeout: no answer within `timeout` seconds; it may still be carried out.
            InvalidArgument: that sensor does not know such commands.
        """
        if not self._open.is_set():
            await self._open.wait()
            await self.wait_for(host, timeout)
        await self.wait_for(host, min(timeout, RETURNS))
        sensor = self._live.get(host)
        if sensor is None:
            raise SensorUnreachable(f"no sensor of host {host} is connected")
        kind = command.WhichOneof("kind") or ""
        if sensor.capabilities and kind not in sensor.capabilities:
            raise InvalidArgument(f"the sensor of host {host} (version {sensor.version}) does not know {kind!r}")
        if not command.id:
            command.id = ids.new_id()
        command.interim = True
        waiting: asyncio.Future[sensor_service_pb2.CommandResult] = asyncio.get_running_loop().create_future()
        sensor.results[command.id], sensor.interims[command.id] = waiting, interim
        sensor.send(sensor_service_pb2.ConnectResponse(command=command))
        try:
            async with asyncio.timeout(timeout):
                return await waiting
        except TimeoutError:
            raise CommandTimeout(f"the sensor of host {host} did not answer within {timeout:g} s") from None
        finally:
            sensor.results.pop(command.id, None)
            sensor.interims.pop(command.id, None)

    def answer(self, sensor: Sensor, result: sensor_service_pb2.CommandResult) -> bool:
        """A result came up; False when nobody waits for it (any more)."""
        waiting = sensor.results.get(result.id)
        if waiting is None or waiting.done():
            return False
        if result.interim:
            sensor.interims[result.id](result.response)
        else:
            waiting.set_result(result)
        return True

    def close_all(self) -> None:
        """End every stream, because the plane stops. Who waits for a result is cancelled: it is no failure of it."""
        self._stopping = True
        for sensor in list(self._live.values()):
            sensor.close()
