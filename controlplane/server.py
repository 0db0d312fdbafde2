"""rubicon-plane: puts the parts together and serves them on the instance's Unix socket until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from controlplane import detectors, logs
from controlplane.api.agents import AgentServicer
from controlplane.api.alerts import AlertServicer
from controlplane.api.audit import AuditServicer
from controlplane.api.coverage import CoverageServicer
from controlplane.api.events import EventServicer
from controlplane.api.guard import Guard
from controlplane.api.hub import Hub
from controlplane.api.responses import ResponseServicer
from controlplane.api.rules import PolicyServicer
from controlplane.api.serving import give_to_group, listen, new_server, only_one
from controlplane.api.witness import Witness
from controlplane.audit.audit import Audit
from controlplane.audit.follow import Follower
from controlplane.audit.notary import Notary
from controlplane.audit.record import Deed
from controlplane.errors import PlaneError, SettingsInvalid
from controlplane.ingest.connect import VERSION, SensorServicer
from controlplane.ingest.deeds import Deeds
from controlplane.ingest.intake import Intake
from controlplane.ingest.precedence import Precedence
from controlplane.ingest.restore import restore
from controlplane.ingest.sensors import Sensors
from controlplane.model import Boot, Changes, HostKey, ResponseWanted
from controlplane.pipeline import Pipeline
from controlplane.policy import Carrier, Gate, Policy, Rule, file
from controlplane.policy.gate import MINUTE
from controlplane.respond import Responder
from controlplane.settings import Settings
from controlplane.store.store import Store
from rubicon.v1 import (
    agent_service_pb2_grpc,
    alert_service_pb2_grpc,
    audit_service_pb2_grpc,
    coverage_pb2,
    coverage_service_pb2_grpc,
    event_service_pb2_grpc,
    policy_service_pb2_grpc,
    priority,
    response_pb2,
    response_service_pb2_grpc,
    sensor_service_pb2_grpc,
    tokens,
)
from rubicon.v1.instance import Instance

if TYPE_CHECKING:
    from controlplane.api.metrics import Metrics

_log = logs.get("server")
SWITCH_S = 0.0005
"""Seconds until a thread that computes gives the interpreter to one that waits for it. A stop goes through several look-ups
in threads and one write, each of many short calls; with Python's 5 ms each call could wait that long for a busy loop."""


class Plane:
    """One plane. `start` returns when it serves; `stop` when everything taken is durable."""

    def __init__(
        self,
        socket: Path,
        folder: Path,
        key: bytes,
        settings: Settings | None = None,
        rules: Callable[[], Sequence[Rule]] = tuple,
        minute: float = MINUTE,
    ) -> None:
        """
        Args:
            socket: where to listen; its folder must exist.
            folder: the store's.
            key: with which tokens are verified.
            rules: reads those of the settings file, now and whenever it is asked to again.
            minute: seconds of what a rule calls a minute.
        """
        self.socket = socket
        self.settings = settings or Settings()
        self._read_rules = rules
        self.rules = tuple(rules())
        self._minute = minute
        self._folder = folder
        self._key = key

    async def start(self) -> None:
        """Open the store, listen, begin to give the pipeline its memory back.

        Raises:
            StoreUnavailable: the store cannot be used.
            SettingsInvalid: the metrics file cannot be written.
            AuditKeyUnusable: the key that signs the audit cannot be used.
            OSError: the socket cannot be made.
        """
        settings = self.settings
        self.pipeline = Pipeline(policy=Policy(self.rules))
        self.sensors = Sensors(self.pipeline.cover)
        metrics = self._metrics()
        notary = Notary(self._folder.parent)
        self.store = Store(self._folder, settings.store)
        self.audit = Audit(self.store, notary, settings.audit)
        self.audit.start()
        rules = "; ".join(f"{rule.name}{'' if rule.enforce else ' (monitor)'}" for rule in self.rules)
        self.audit.note(Deed("start", f"plane {VERSION}"), detail=f"rules: {rules or 'none'}")
        self.follower = Follower(self.audit, self.store)
        self.hub = Hub(settings.watch)
        self.responder = Responder(self.sensors, self.pipeline, self.store, settings.wire.command_timeout)
        self.responder.ledger.watching = self.hub.changed
        self.precedence = Precedence()
        carrier = Carrier(self._obey, self.sensors.wait_for, self.pipeline, self.audit, self.follower)
        self.gate = Gate(carrier, self._waits, self._drops, carrier.alive, self._minute)
        deeds = Deeds(self.store, self.audit, self.pipeline.agent, self.responder.ledger.is_begun)
        self.intake = Intake(
            self.store, self.pipeline.apply, self.gate, self.responder.followed.ended, deeds, self.precedence
        )
        self.store.writer.listeners.append(self.hub.published)
        if metrics:
            self.store.writer.listeners.append(metrics.published)
        self.sensors.hold()
        await self._listen()
        self.restored = asyncio.create_task(self._restore(), name="restore")
        """Fails when what is stored cannot be taken over; the plane must not go on then."""
        self._resuming = asyncio.create_task(self._resume(), name="resume")
        self._measuring = [asyncio.create_task(metrics.keep(), name="metrics")] if metrics else []

    def _metrics(self) -> Metrics | None:
        if not self.settings.metrics.file:
            return None
        from controlplane.api.metrics import Metrics  # its library is loaded only where it is used

        metrics = Metrics(self.settings.metrics, self.sensors, self.pipeline)
        metrics.check()
        return metrics

    async def _restore(self) -> None:
        """Give the pipeline its memory back, then let sensors in. Calls are answered meanwhile, from the store."""
        begin = time.time_ns()
        lately = await asyncio.to_thread(self.store.entities.stopped_since, begin - int(self._minute * 1e9))
        self.gate.remember((rule, agent, (begin - at_ns) / 1e9) for rule, agent, at_ns in lately)
        for stream, changes in await restore(self.store, self.pipeline):
            self.intake.store(self.store.number(stream.boot), stream, changes)
        # What lives now lives long: keep the collector away from it, and from running every 700 allocations.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        followed = await asyncio.to_thread(self.store.entities.followed_responses)
        await asyncio.to_thread(self.follower.resumed, followed)
        await self.responder.followed.take_up(followed)
        self.sensors.open()

    async def _resume(self) -> None:
        """Carry out what was under way when the plane ended, as soon as the hosts are back."""
        await self.restored
        waiting = await asyncio.to_thread(self.store.entities.open_responses)
        await asyncio.to_thread(self.follower.resumed, waiting)
        by_host: dict[str, list[response_pb2.Response]] = {}
        for response in waiting:
            agent = await asyncio.to_thread(self.store.entities.agent, response.agent_id)
            by_host.setdefault(agent.host if agent else "", []).append(response)
        for host, responses in by_host.items():
            await self.sensors.wait_for(host)
            await self.responder.resume(responses)

    async def _obey(self, wanted: ResponseWanted) -> response_pb2.Response:
        with self.precedence.stop():
            return await self.responder.obey(wanted)

    def _waits(self, wanted: ResponseWanted, why: str) -> None:
        self._keep(self.pipeline.waits(wanted, why))

    def _drops(self, wanted: ResponseWanted) -> None:
        self._keep(self.pipeline.dropped(wanted))

    def _keep(self, said: tuple[HostKey, Changes] | None) -> None:
        if said is not None:
            stream, changes = said
            self.intake.store(self.store.number(stream.boot), stream, changes)

    def reload(self) -> None:
        """Read the rules again; they decide about what comes from now on.

        Raises:
            SettingsInvalid: the settings file cannot be; the rules of before stay in force.
        """
        self.rules = tuple(self._read_rules())
        self.pipeline.policy = Policy(self.rules)
        self.gate.take(self.rules)
        _log.info("rules read again", rules=[rule.name for rule in self.rules])

    def _facts(self) -> list[coverage_pb2.CoverageFact]:
        return [*self.pipeline.facts(), *self.gate.facts()]

    async def _listen(self) -> None:
        wire = self.settings.wire
        self.witness = Witness(self.store, self.audit, self.follower, self.precedence)
        self._server = new_server(Guard(self._key, self._owner_of, self.witness), wire)
        timeout = wire.command_timeout
        connect = SensorServicer(
            self.store, self.intake, self.sensors, self.pipeline.connected, self.settings.store.give_up
        )
        agents = AgentServicer(self.store, self.sensors, self.hub, timeout)
        coverage = CoverageServicer(self.store, self.sensors, self._facts, timeout)
        sensor_service_pb2_grpc.add_SensorServiceServicer_to_server(connect, self._server)
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(agents, self._server)
        alert_service_pb2_grpc.add_AlertServiceServicer_to_server(AlertServicer(self.store, self.hub), self._server)
        event_service_pb2_grpc.add_EventServiceServicer_to_server(EventServicer(self.store, self.hub), self._server)
        coverage_service_pb2_grpc.add_CoverageServiceServicer_to_server(coverage, self._server)
        response_service_pb2_grpc.add_ResponseServiceServicer_to_server(
            ResponseServicer(self.store, self.responder, self.hub), self._server
        )
        rules = PolicyServicer(lambda: self.rules, self.gate.counts, self.reload)
        policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(rules, self._server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(self.store, self.audit), self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        listen(self._server, self.socket)
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """End streams and calls, write what waits, close the store."""
        await self._health.enter_graceful_shutdown()
        self.hub.close()
        await self.gate.stop()
        await self.responder.stop()
        self.sensors.close_all()
        ending = (self._resuming, self.restored, *self._measuring)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._server.stop(self.settings.wire.stop_grace)
        await self.witness.stop(self.settings.wire.stop_grace)
        await self.intake.stop()
        await self.audit.stop()
        await self.store.close()
        self.socket.unlink(missing_ok=True)

    async def _owner_of(self, claims: tokens.Claims) -> str:
        live = self.pipeline.find(claims.host, claims.boot_id, claims.pid, claims.start_time)
        if live is not None:
            return live.agent_id if live.alive else ""
        number = self.store.number(Boot(claims.host, claims.boot_id))
        if not number:
            return ""
        found = await asyncio.to_thread(self.store.entities.process, number, claims.pid, claims.start_time)
        return "" if found is None or found.HasField("ended_at") else found.agent_id


async def serve(plane: Plane, place: priority.Place | None = None) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        place: in the scheduler; kept once what is stored was taken over.

    Raises:
        StoreUnavailable: the store's writer has died; a plane that is started anew goes on from what is stored.
        ValueError: what is stored cannot be taken over.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if place:
        loop.add_signal_handler(priority.RUNAWAY, place.ran_away)
    await plane.start()
    _log.info("plane ready", socket=str(plane.socket), version=VERSION, pid=os.getpid(), rules=len(plane.rules))
    writer = plane.store.writer
    ends: set[asyncio.Task[object]] = {asyncio.create_task(stop.wait()), asyncio.create_task(writer.died.wait())}
    await asyncio.wait({*ends, plane.restored}, return_when=asyncio.FIRST_COMPLETED)
    if plane.restored.done() and not plane.restored.exception():
        if place:
            if not place.able:
                _log.info("no real-time scheduling here: a stop may take seconds beside agents that burn every core")
            plane.precedence.hurry = place.hurry
            ends.add(asyncio.create_task(place.keep()))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    _log.info("plane stopping")
    failed = (plane.restored.done() and plane.restored.exception()) or (writer.died.is_set() and writer.failure)
    await plane.stop()
    for task in ends:
        task.cancel()
    _log.info("plane stopped")
    if failed:
        raise failed


def main(arguments: list[str] | None = None) -> int:
    """The console script rubicon-plane. Exit status: 0 stopped when asked, 1 could not start, 2 usage."""
    parser = argparse.ArgumentParser(prog="rubicon-plane", description="Rubicon's control plane on this host.")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--check", action="store_true", help="only say whether the settings can be: exit status 0 or 2")
    check = parser.parse_args(arguments).check
    logs.configure()
    try:
        instance = Instance.current()
        settings = Settings.from_environment()
        known = [module.DETECTOR.id for module in detectors.load()]
        rules = functools.partial(file.find, settings.settings.file, instance.settings_file, known)
        rules()
    except ValueError as error:
        print(f"rubicon-plane: {error}", file=sys.stderr)
        return 2
    except SettingsInvalid as error:
        print(f"rubicon-plane: {error.in_words}", file=sys.stderr)
        return 2
    if check:
        return 0
    try:
        instance.run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        give_to_group(instance.run_dir)
        instance.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with only_one(instance.state_dir / "plane.lock"):
            key = tokens.ensure_key(instance)
            sys.setswitchinterval(SWITCH_S)
            plane = functools.partial(Plane, instance.plane_socket, instance.store_dir, key, settings, rules)
            asyncio.run(serve(plane(), priority.Place()))
    except BlockingIOError:
        print(
            f"rubicon-plane: another plane of instance {instance.name} runs; 'rubicon down' stops it", file=sys.stderr
        )
        return 1
    except PlaneError as error:
        print(f"rubicon-plane: {error.in_words}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(
            f"rubicon-plane: the store is damaged: {error}; restore it from a backup, or move it away", file=sys.stderr
        )
        return 1
    except (OSError, tokens.TokenError) as error:
        print(f"rubicon-plane: {error}; run it as root, or with 'sudo rubicon up'", file=sys.stderr)
        return 1
    return 0
