"""Commands that come down the plane's stream: enrol, kill, freeze, isolate, release, finish, probe."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from rubicon.v1 import event_pb2, response_pb2, sensor_service_pb2
from sensor.act.contain import Containment
from sensor.act.containing import Containing
from sensor.act.enrol import Enroller, Facts
from sensor.act.kill import Killer, Order, keys
from sensor.act.watch import Watch
from sensor.errors import InvalidArgument, SensorError

CAPABILITIES = ("enrol", "kill", "finish", "probe", "contain")
"""What a Hello says that this sensor understands."""

Applied = Callable[[response_pb2.Response], None]

log = structlog.get_logger(part="command")


class Commands:
    """Carries commands out. `handle` blocks and may be called from any thread."""

    def __init__(self, enroller: Enroller, killer: Killer, containment: Containment, watch: Watch, host: str) -> None:
        self._enroller = enroller
        self._killer = killer
        self._containment = containment
        self._watch = watch
        self._host = host
        self._kinds: dict[str, Callable[[sensor_service_pb2.Command, Applied], response_pb2.Response | None]] = {
            "enrol": self._enrol,
            "kill": self._kill,
            "contain": self._contain,
            "finish": self._finish,
            "probe": self._probe,
        }

    def handle(self, command: sensor_service_pb2.Command, applied: Applied) -> sensor_service_pb2.CommandResult:
        """What became of a command; never raises.

        Args:
            applied: is told of a response that is done and not verified yet, in this thread.
        """
        result = sensor_service_pb2.CommandResult(id=command.id)
        kind = command.WhichOneof("kind") or "nothing"
        try:
            handler = self._kinds.get(kind)
            if not handler:
                raise InvalidArgument(f"this sensor does not know the command {kind!r}: use the plane's version of it")
            response = handler(command, applied)
            if response:
                result.response.CopyFrom(response)
        except SensorError as error:
            result.error_reason, result.error = error.reason, str(error)
            log.info("command refused", command=kind, reason=error.reason, error=str(error))
        except Exception as error:
            result.error_reason, result.error = "INTERNAL", f"{kind} failed in the sensor of {self._host}: {error}"
            log.exception("command failed", command=kind)
        return result

    def _enrol(self, command: sensor_service_pb2.Command, _: Applied) -> None:
        order = command.enrol
        facts = Facts(
            agent_id=order.agent_id,
            name=order.enrol.name,
            labels=dict(order.enrol.labels),
            on_alert=order.enrol.on_alert,
            command=list(order.enrol.command),
            enrolled_by=order.enrol.enrolled_by,
        )
        if order.cgroup_path:
            self._enroller.enrol_cgroup(order.cgroup_path, facts)
        else:
            self._enroller.enrol_process(order.process.pid, facts, order.process.start_time_ns)

    def _kill(self, command: sensor_service_pb2.Command, applied: Applied) -> response_pb2.Response:
        wanted = command.kill
        agent = self._enroller.registry.find(wanted.agent_id)
        order = Order(
            reason=wanted.reason,
            response_id=wanted.response_id,
            force=wanted.force,
            caller=keys([wanted.caller])[0] if wanted.caller.pid else None,
            descendants=keys(wanted.descendants),
            dry_run=wanted.dry_run,
            applied=applied,
        )
        if wanted.process.pid:
            return self._killer.kill_process(agent, keys([wanted.process])[0], order)
        return self._killer.kill_agent(agent, order)

    def _contain(self, command: sensor_service_pb2.Command, applied: Applied) -> response_pb2.Response:
        wanted = command.contain
        agent = self._enroller.registry.find(wanted.agent_id)
        order = Containing(
            reason=wanted.reason,
            requested_by=wanted.requested_by,
            response_id=wanted.response_id,
            force=wanted.force,
            caller=keys([wanted.caller])[0] if wanted.caller.pid else None,
            descendants=keys(wanted.descendants),
            dry_run=wanted.dry_run,
            applied=applied,
            ttl_ns=wanted.ttl_ns,
            isolation=wanted.isolation,
        )
        target = keys([wanted.process])[0] if wanted.process.pid else None
        if wanted.action == response_pb2.ACTION_FREEZE:
            return self._containment.freeze(agent, order, target)
        if wanted.action == response_pb2.ACTION_ISOLATE:
            return self._containment.isolate(agent, order, target)
        if wanted.action == response_pb2.ACTION_RELEASE:
            return self._containment.release(agent, order, target)
        raise InvalidArgument(f"action {wanted.action}: freeze, isolate or release")

    def _finish(self, command: sensor_service_pb2.Command, _: Applied) -> None:
        self._watch.finish(command.finish.agent_id, detach=command.finish.detach)

    def _probe(self, command: sensor_service_pb2.Command, _: Applied) -> None:
        event = event_pb2.Event(
            time_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME), probe=event_pb2.Probe(token=command.probe.token)
        )
        self._enroller.emit(event)
