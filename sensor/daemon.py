"""rubicon-sensor: the privileged daemon of a host, one per instance.

Order of a start: the lock, the kernel (what an earlier sensor left in force is adopted), the registry, the local
socket, so that `launch` and `kill` work within the first second and without a plane; then collection and the stream
to the plane. SIGTERM ends it in the opposite order and leaves in force what is pinned. SIGKILL at any moment loses
nothing but the time until the next start: the ring is pinned and its position moves only after the spool's fsync.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog
from google.protobuf.json_format import MessageToDict

from rubicon.v1 import coverage_pb2, event_pb2, priority, response_pb2, sensor_service_pb2, tokens
from rubicon.v1.instance import Instance
from sensor import heap, logs
from sensor.act.cgroup import Cgroup
from sensor.act.command import CAPABILITIES, Commands
from sensor.act.contain import Containment
from sensor.act.enrol import Enroller
from sensor.act.kill import Killer, Order
from sensor.act.let_go import let_go
from sensor.act.registry import Living, Registry
from sensor.act.watch import Watch
from sensor.collect import ssh_config
from sensor.collect.clock import clock_offset_ns, kernel_release
from sensor.collect.collector import Collector
from sensor.collect.coverage import coverage
from sensor.collect.identity import SensorRecords
from sensor.collect.snapshot import snapshot
from sensor.collect.ssh_config import SshConfigReader
from sensor.errors import SensorError
from sensor.guard.guard import Guard
from sensor.kernel.enums import AgentFlag, EventKind
from sensor.kernel.loader import Kernel
from sensor.local import host
from sensor.local.context import Context
from sensor.local.loop import LoopThread
from sensor.local.server import LocalServer
from sensor.settings import Settings
from sensor.ship.earlier import ship_earlier_boots
from sensor.ship.spool import Spool
from sensor.ship.uplink import Uplink

log = structlog.get_logger(part="daemon")
_AWAY = (event_pb2.JOIN_REASON_LEFT, event_pb2.JOIN_REASON_CONTESTED)
COVER_S = 10.0
"""Seconds between looks at what the kernel has skipped, while an agent lives; a look takes below a millisecond."""


def main(arguments: list[str] | None = None) -> int:
    """The console script; its exit status: 0 after SIGTERM, 1 when the sensor could not start or had to end."""
    parser = argparse.ArgumentParser(prog="rubicon-sensor", description="Rubicon's sensor for this host (root).")
    parser.add_argument("--verbose", action="store_true", help="log debug messages too")
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument(
        "--unload", action="store_true", help="remove what a stopped sensor left in the kernel, and end"
    )
    options = parser.parse_args(arguments)
    heap.only_one()
    logs.configure(socket.gethostname())
    try:
        instance = Instance.current()
        settings = Settings.from_environment()
        logs.configure(settings.host.name, logging.DEBUG if options.verbose else logging.INFO)
        with host.only_one(instance):
            if options.unload:
                let_go(instance, settings.host.boot_id)
                Kernel.unload(instance)
                Cgroup.at(instance.cgroup).remove()
                return 0
            asyncio.run(_Sensor(instance, settings).run())
    except (SensorError, ValueError, OSError) as error:
        log.error("sensor cannot run", error=str(error), kind=type(error).__name__)
        return 1
    return 0


@functools.cache
def _version() -> str:
    """The installed version, from the name of its metadata's folder: importlib.metadata would cost 2 MB for good."""
    for place in map(Path, sys.path):
        for found in place.glob("rubicon-*.dist-info"):
            return found.name.removesuffix(".dist-info").partition("-")[2]
    return "unknown"


class _Sensor:
    """The parts of one running sensor, wired."""

    def __init__(self, instance: Instance, settings: Settings) -> None:
        self._instance = instance
        self._settings = settings
        self._look = asyncio.Event()
        self._stop = asyncio.Event()
        self._kernel = Kernel.open(instance, settings.kernel)
        self._records = records = SensorRecords()
        self._plane = f"unix:{instance.plane_socket}"
        self._spool = Spool(instance.spool_dir, records.stamp, cap_bytes=settings.spool.cap_bytes)
        self._collector = Collector(self._kernel, self._spool, records)
        self._registry = Registry(instance.state_dir / "agents.json", settings.host.boot_id)
        self._enroller = Enroller(
            self._kernel,
            self._emit,
            instance,
            self._registry,
            settings.enrol,
            functools.partial(snapshot, self._kernel),
        )
        self._killer = Killer(self._enroller, settings.kill, settings.host.name, settings.host.boot_id)
        self._collector.yield_to(lambda: self._killer.is_busy)
        self._containment = Containment(self._enroller, settings.contain, settings.host.name, settings.host.boot_id)
        self._watch = Watch(self._enroller, self._killer, self._containment, settings.enrol, self._kill_again)
        self._commands = Commands(self._enroller, self._killer, self._containment, self._watch, settings.host.name)
        self._guard = Guard(instance, self._enroller, self._containment, self._emit)
        self._key = tokens.ensure_key(instance)
        self._threads = ThreadPoolExecutor(settings.kill.threads, "act")
        self._sweeper = ThreadPoolExecutor(1, "watch")
        self._uplink = Uplink(
            self._plane,
            self._spool,
            self._hello,
            self._command,
            token=self._token,
            on_welcome=self._welcomed,
        )
        self._local = LocalServer(
            Context(
                instance=instance,
                settings=settings,
                enroller=self._enroller,
                killer=self._killer,
                containment=self._containment,
                watch=self._watch,
                emit=self._emit,
                key=self._key,
                threads=self._threads,
                status=self._status,
            )
        )
        self._talk: LoopThread | None = None
        self._told = self._coverage()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._ended: set[str] = set()
        self._following: asyncio.Future[None] | None = None
        """Under way for somebody who has just left; others may have since, and are followed too."""

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            SensorError: a part that nothing works without has ended.
        """
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._place = priority.Place()
        self._killer.hurry = self._place.hurry
        self._loop.add_signal_handler(priority.RUNAWAY, self._ran_away)
        if not self._place.able:
            log.info("no real-time scheduling here: a kill may take seconds on a busy host")
        # A kill's thread makes many short system calls; with the default of 5 ms each could wait that long for a busy
        # decoder to give the interpreter back.
        sys.setswitchinterval(0.0005)
        self._collector.subscribe(self._saw_end, (EventKind.EXIT, EventKind.JOIN))
        reader = SshConfigReader(self._emit)
        self._collector.subscribe(reader.on_event, ssh_config.KINDS)
        self._guard.subscribe(self._collector)
        await self._loop.run_in_executor(self._sweeper, self._watch.adopt)
        self._guard.start()
        talk = self._talk = LoopThread("talk")
        await asyncio.wrap_future(talk.submit(self._local.start(host.group())))
        log.info("sensor ready", pid=os.getpid(), adopted=self._kernel.adopted, agents=len(self._registry))
        host.notify("READY=1")
        collecting = asyncio.create_task(self._collector.run())
        shipping = asyncio.wrap_future(talk.submit(self._ship()))
        others: list[asyncio.Future[Any]] = [asyncio.create_task(self._sweep()), asyncio.create_task(self._stop.wait())]
        others.append(asyncio.create_task(self._place.keep()))
        parts = [collecting, shipping, *others]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            host.notify("STOPPING=1")
            log.info("sensor stops; what is pinned stays in force", agents=len(self._registry))
            await asyncio.wrap_future(talk.submit(self._local.stop()))
            await reader.close()
            self._collector.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await asyncio.gather(collecting, return_exceptions=True)
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            talk.stop()
            await self._loop.run_in_executor(self._sweeper, self._guard.stop)
            self._killer.close()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._sweeper.shutdown(wait=True, cancel_futures=True)
            self._spool.close()
            self._kernel.close()

    def _emit(self, event: event_pb2.Event) -> None:
        self._collector.emit(event)
        if event.HasField("enrol") and self._loop:
            self._loop.call_soon_threadsafe(self._look.set)

    def _ran_away(self) -> None:
        """A thread ran for a second without blocking: a defect, or a machine that stood still. Let others run first."""
        log.error("a thread of the sensor does not pause; ordinary scheduling for a while")
        self._place.ran_away()

    def _saw_end(self, event: event_pb2.Event) -> None:
        """An exit or a move: look soon, in case it was an agent's last or a leaver; a burst is one look."""
        self._ended.add(event.agent_id)
        if self._loop and event.join.reason in _AWAY and not self._following:
            # before its next packet, if that can be: what this costs others ends with the next look, if nobody is outside
            self._following = self._loop.run_in_executor(self._sweeper, self._watch.follow)
            self._following.add_done_callback(self._followed)
        if self._loop and not self._ending:
            self._ending = self._loop.call_later(0.02, self._look_at_ends)

    def _followed(self, done: asyncio.Future[None]) -> None:
        self._following = None
        if not done.cancelled() and (error := done.exception()):
            log.error("leavers are not followed", error=str(error))

    def _look_at_ends(self) -> None:
        self._ending = None
        ended, self._ended = self._ended, set()
        # the hooks' own counter and flags spare the look when there is nothing to see
        states = [self._kernel.agents.get(int(agent, 16)) for agent in ended]
        if any(state and (not state.tasks or state.flags & AgentFlag.LEAVERS) for state in states):
            self._look.set()

    async def _sweep(self) -> None:
        assert self._loop
        covered = swept = self._loop.time()
        settings = self._settings.enrol
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._watch.idle else settings.sweep_s):
                    await self._look.wait()
            if not self._look.is_set() and self._watch.calm and self._loop.time() < swept + settings.calm_s:
                continue
            self._look.clear()
            swept = self._loop.time()
            try:
                await self._loop.run_in_executor(self._sweeper, self._watch.sweep)
            except (SensorError, OSError) as error:
                log.error("looking after agents failed", error=str(error))
            if self._loop.time() >= covered + COVER_S:
                covered = self._loop.time()
                await self._cover()
            await asyncio.sleep(0.05)  # a burst of exits is one look

    async def _cover(self) -> None:
        """Tell the plane what has become of coverage since it was last told: runs of a hook that the kernel skipped."""
        assert self._loop
        now = await self._loop.run_in_executor(self._sweeper, self._coverage)
        if now != self._told and self._talk:
            self._told = now
            self._talk.call(functools.partial(self._uplink.send_coverage, now))

    def _kill_again(self, agent: Living) -> None:
        """Begin, or begin again, a kill that the kernel or an earlier sensor has condemned an agent to."""
        order = Order(reason=agent.reason, requested_by="rubicon-sensor", force=True)
        if agent.response_id:
            order = Order(order.reason, order.requested_by, agent.response_id, force=True)

        def kill() -> None:
            try:
                response = self._killer.kill_agent(agent, order)
            except SensorError as error:
                log.error("kill failed", agent=agent.id, error=str(error))
            else:
                log.warning(
                    "condemned agent killed" if not response.survivors else "condemned agent still has survivors",
                    agent=agent.id, reason=agent.reason, killed=response.killed, survivors=len(response.survivors),
                )  # fmt: skip
            if self._loop:
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._look.set)

        self._threads.submit(kill)

    async def _command(
        self, command: sensor_service_pb2.Command, interim: Callable[[sensor_service_pb2.CommandResult], None]
    ) -> sensor_service_pb2.CommandResult:
        assert self._loop
        loop = asyncio.get_running_loop()

        def applied(response: response_pb2.Response) -> None:
            said = sensor_service_pb2.CommandResult(id=command.id, response=response, interim=True)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is to be told any more
                loop.call_soon_threadsafe(interim, said)

        told = applied if command.interim else lambda _: None  # an older plane takes the first word for the last
        handle = functools.partial(self._commands.handle, command, told)
        result = await loop.run_in_executor(self._threads, handle)
        self._loop.call_soon_threadsafe(self._look.set)
        return result

    async def _welcomed(self, _: sensor_service_pb2.Welcome) -> None:
        """A plane that is new, or another than before, learns who lives here."""

        def tell() -> None:
            for agent in self._registry:
                self._enroller.announce(agent)
                self._containment.announce(agent)
                self._enroller.describe(agent)
            self._guard.plane_connected()

        await asyncio.get_running_loop().run_in_executor(self._threads, tell)

    async def _ship(self) -> None:
        """What an earlier boot left goes first, under its own boot's name; then this boot's stream, for ever."""
        await ship_earlier_boots(self._spool, self._plane, self._hello, self._token, self._records.stamp)
        await self._uplink.run()

    def _token(self, boot_id: str = "") -> str:
        here = self._settings.host
        task = self._kernel.task(os.getpid())
        return tokens.issue(
            self._key,
            uid=os.geteuid(),
            pid=os.getpid(),
            start_time=task.start_time if task else 0,
            host=here.name,
            boot_id=boot_id or here.boot_id,
            audience="sensor",
        )

    def _hello(self) -> sensor_service_pb2.Hello:
        here = self._settings.host
        return sensor_service_pb2.Hello(
            host=here.name,
            boot_id=here.boot_id,
            kernel=kernel_release(),
            clock_offset_ns=clock_offset_ns(),
            coverage=self._coverage(),
            capabilities=CAPABILITIES,
            version=_version(),
        )

    def _coverage(self) -> coverage_pb2.Coverage:
        return coverage([*self._kernel.facts(), *self._guard.coverage], self._settings.host.name)

    def _status(self) -> dict[str, Any]:
        facts = self._coverage().facts
        return {
            "version": _version(),
            "pid": os.getpid(),
            "kernel": kernel_release(),
            "uplink": self._uplink.state,
            "uplink_error": self._uplink.last_error,
            "adopted": self._kernel.adopted,
            "coverage": [MessageToDict(fact, preserving_proto_field_name=True) for fact in facts],
            "spool": self._spool.status()._asdict(),
        }
