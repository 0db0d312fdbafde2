"""Freeze, isolate and release: what is in force for which agent, until when, and that it stays so.

What is in force stands in three places: the registry on disk (what was asked, until when), the kernel (flags, cgroup
freezer; pinned, so that a dead sensor releases nothing) and a Contain event (for the plane). The registry learns first, so
a sensor that is killed half-way finishes what it began when it is back. Time counts CLOCK_BOOTTIME.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog
from google.protobuf.json_format import MessageToDict

from rubicon.v1 import response_pb2
from sensor.act.allow import parsed
from sensor.act.announce import Announcer
from sensor.act.containing import Containing
from sensor.act.freeze import Freezer
from sensor.act.holders import Holders
from sensor.act.hunt import Hunt
from sensor.act.isolate import Isolator, Outcome, in_force, isolation_of
from sensor.act.kill import Order
from sensor.act.part import MOST, number
from sensor.act.processes import Crowd, Key, family, key
from sensor.act.protect import refuse_protected
from sensor.act.record import Recorder
from sensor.act.registry import Living
from sensor.errors import InvalidArgument, ProcessNotFound
from sensor.kernel.enums import AgentFlag

if TYPE_CHECKING:
    from sensor.act.enrol import Enroller
    from sensor.settings import ContainSettings

VERIFIED, FAILED = response_pb2.RESPONSE_STATE_VERIFIED, response_pb2.RESPONSE_STATE_FAILED
log = structlog.get_logger(part="contain")


class Containment:
    """Every method blocks until it is verified or patience ends; any thread may call. Orders to one agent take turns."""

    def __init__(self, enroller: Enroller, settings: ContainSettings, host: str, boot_id: str) -> None:
        self._enroller = enroller
        self._kernel = enroller.kernel
        self._registry = enroller.registry
        self._settings = settings
        self._record = Recorder(host, boot_id)
        self._freezer = Freezer(enroller, settings.patience_s)
        self._isolator = Isolator(enroller, settings.patience_s)
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._stopped_until = 0.0
        self._holders = Holders(enroller.emit)
        self._announce = Announcer(enroller.emit)

    def freeze(self, agent: Living, order: Containing, target: Key | None = None) -> response_pb2.Response:
        """Stop an agent, or one of its processes with all descendants.

        Raises:
            TargetProtected: the caller is in the target, and it is not forced.
            ProcessNotFound: no living process of the agent.
            InvalidArgument: the ttl.
        """
        started = time.monotonic_ns()
        expires_ns = order.expiry()
        response = self._record.requested(response_pb2.ACTION_FREEZE, agent, order, target)
        hunt = Hunt(self._kernel, agent, self._enroller.cgroup(agent), order.descendants, target)
        refuse_protected(hunt, order.caller, force=order.force)
        if target:
            _must_live(agent, hunt, target)
        if order.dry_run:
            return self._record.dry_run(response, hunt)
        with self._turns[agent.id]:
            self._registry.change(agent.id, frozen=agent.frozen or target is None, freeze_expires_ns=expires_ns)
            steps: list[str] = []
            running = self._freezer.freeze(agent, hunt, steps, lambda: self._record.applied(response, order))
            response.steps.extend(steps)
            self._announce(agent, order, response_pb2.ACTION_FREEZE, target)
        why = "not stopped yet (state {})"
        self._record.left(response, ((key(task), task.comm, why.format(task.state)) for task in running))
        if running:
            response.error = (
                f"{len(running)} processes have not stopped yet; they are stopped when they leave the kernel"
            )
        return self._finished(response, started, expires_ns)

    def isolate(self, agent: Living, order: Containing, target: Key | None = None) -> response_pb2.Response:
        """Take the network from an agent, or from one of its processes with all descendants. Those that are isolated alone
        share one allow-list and one end: the last ones given.

        Raises:
            TargetProtected: the caller is in the target, and it is not forced.
            ProcessNotFound: no living process of the agent.
            InvalidArgument: the ttl or the allow-list; or the process is isolated with its agent.
        """
        started = time.monotonic_ns()
        expires_ns = order.expiry()
        parsed(order.isolation.allow)
        response = self._record.requested(response_pb2.ACTION_ISOLATE, agent, order, target)
        response.isolation.CopyFrom(order.isolation)
        hunt = Hunt(self._kernel, agent, self._enroller.cgroup(agent), order.descendants, target)
        refuse_protected(hunt, order.caller, force=order.force)
        if target:
            _must_live(agent, hunt, target)
        if order.dry_run:
            return self._record.dry_run(response, hunt)
        with self._turns[agent.id]:
            if target and agent.wholly_isolated:
                raise InvalidArgument(f"it is isolated with agent {agent.name}")
            parts = self._parts(agent, hunt, target) if target else []
            part = agent.part if agent.isolated_parts or not target else agent.part % MOST + 1
            self._holders.forget(agent)  # until the answer names some, nobody is news
            with self._enroller.lock:  # a sweep that has not seen it yet would take the programs off the root again
                self._registry.change(
                    agent.id,
                    isolated=True,
                    isolated_parts=parts,
                    part=part,
                    isolation_expires_ns=expires_ns,
                    isolation=MessageToDict(order.isolation, preserving_proto_field_name=True),
                    strict_holders=order.isolation.strict,
                )
                outcome = self._isolator.enforce(agent, order.isolation, hunt if target else None)
            self._record.applied(response, order)
            self._isolator.cut(agent, order.isolation, outcome, started)
            self._holders.know(agent, outcome.holders)
            self._announce(agent, order, response_pb2.ACTION_ISOLATE, target)
        response.steps.extend(outcome.steps)
        response.destroyed = outcome.destroyed
        self._judge(response, outcome)
        return self._finished(response, started, expires_ns)

    def release(self, agent: Living, order: Containing, target: Key | None = None) -> response_pb2.Response:
        """Undo freeze and isolation of an agent, or of one of its processes with all descendants, and say what cannot be
        undone.

        Raises:
            ProcessNotFound: no living process of the agent.
            InvalidArgument: the process is frozen or isolated with something larger.
        """
        started = time.monotonic_ns()
        response = self._record.requested(response_pb2.ACTION_RELEASE, agent, order, target)
        hunt = Hunt(self._kernel, agent, self._enroller.cgroup(agent), order.descendants, target)
        if target:
            _must_live(agent, hunt, target)
        if order.dry_run:
            return self._record.dry_run(response, hunt)
        with self._turns[agent.id]:
            if target:
                self._release_part(agent, hunt, response)
            else:
                self._release(agent, response, freeze=True, isolation=True)
            self._announce(agent, order, response_pb2.ACTION_RELEASE, target)
        return self._finished(response, started, 0)

    def adopt(self) -> None:
        """After a start: registry and kernel agree, and what was begun is finished. Nothing is released here."""
        states = dict(self._kernel.agents.items())
        for agent in self._registry:
            state = states.get(agent.number)
            flags = state.flags if state else 0
            if flags & AgentFlag.ISOLATED and not agent.isolated:  # the registry was lost: the kernel knows
                self._registry.change(agent.id, isolated=True, part=number(flags))
                marked = self._isolator.part.marked(agent, self._kernel.tasks()) if agent.part else ()
                self._registry.change(agent.id, isolated_parts=[list(each) for each in marked])
            cgroup = self._enroller.cgroup(agent)
            if cgroup and not agent.frozen and cgroup.frozen:
                self._registry.change(agent.id, frozen=True)
            if agent.isolated and not in_force(agent, flags):
                self._isolator.enforce(agent, isolation_of(agent), self._isolator.part.hunt(agent))
        crowd = Crowd(self._kernel.tasks())
        for agent in self._registry:
            if agent.stands:
                self._freezer.again(agent, crowd)
        isolated = [(agent, isolation_of(agent)) for agent in self._registry if agent.isolated]
        if isolated:
            for agent, _ in isolated:
                self._holders.know(agent, self._isolator.holders(agent))
            self._isolator.destroy(isolated)

    def ended(self, agent: Living) -> None:
        """Nobody of it lives; before the kernel forgets it, what was left in its sockets goes too."""
        self._holders.forget(agent)
        state = self._kernel.agents.get(agent.number)
        if state and state.flags & AgentFlag.ISOLATED:
            self._isolator.destroy([(agent, isolation_of(agent))])

    def tend(self) -> None:
        """One look: end what has expired; stop again and own again whatever a contained agent has come to since."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        contained = [agent for agent in self._registry if agent.stands or agent.isolated]
        for agent in contained:
            self._expire(agent, now)
        self._stop_again([agent for agent in contained if agent.stands])
        isolated = [agent for agent in contained if agent.isolated]
        for agent in isolated:
            if agent.isolated_parts and not self._isolator.part.again(agent):
                self._nobody_left(agent)
        isolated = [agent for agent in isolated if agent.isolated]
        for agent, holder, what in self._isolator.again(isolated) if isolated else ():
            if self._holders.found(agent, holder, what) and agent.strict_holders:
                why = f"held a socket of {what}, which no hook governs, while its agent is isolated strictly"
                self.killed(agent, Order(reason=why, requested_by="rubicon-sensor"), holder)

    def _stop_again(self, frozen: list[Living]) -> None:
        """Stop whoever of them runs. With very many of them a look takes at most a tenth of the time."""
        started = time.monotonic()
        if not frozen or started < self._stopped_until:
            return
        crowd = Crowd(self._kernel.tasks())
        for agent in frozen:
            if self._turns[agent.id].acquire(blocking=False):
                try:
                    if agent.stands and self._freezer.again(agent, crowd):
                        log.warning("a process of a frozen agent ran; it was stopped again", agent=agent.id)
                finally:
                    self._turns[agent.id].release()
        ended = time.monotonic()
        self._stopped_until = ended + 9 * (ended - started)

    def announce(self, agent: Living) -> None:
        """Tell a plane that is new, or another than before."""
        if agent.frozen or agent.isolated:
            self._announce(agent, Order(reason="in force"))

    def _expire(self, agent: Living, now: int) -> None:
        freeze = 0 < agent.freeze_expires_ns <= now
        isolation = 0 < agent.isolation_expires_ns <= now
        if not freeze and not isolation:
            return
        with self._turns[agent.id]:
            self._release(agent, response_pb2.Response(), freeze=freeze, isolation=isolation)
            order = Order(reason="its time was over", requested_by="rubicon-sensor", response_id="")
            self._announce(agent, order, response_pb2.ACTION_RELEASE)
        log.info("released: its time was over", agent=agent.id, freeze=freeze, isolation=isolation)

    def _release(self, agent: Living, response: response_pb2.Response, *, freeze: bool, isolation: bool) -> None:
        # the registry last: a sensor that is killed in between releases again, which does no harm
        if isolation:
            was = agent.isolated
            self._isolator.release(agent)
            self._registry.change(
                agent.id, isolated=False, isolated_parts=[], isolation_expires_ns=0, isolation={}, strict_holders=False
            )
            if was:
                response.steps.append("network given back; destroyed connections stay destroyed")
        if freeze:
            was = agent.stands
            woken = self._freezer.thaw(agent)
            self._registry.change(agent.id, frozen=False, freeze_expires_ns=0)
            if was:
                response.steps.append(f"thawed, {woken} woken by signal")
        if not response.steps:
            response.steps.append("nothing was in force")

    def _parts(self, agent: Living, hunt: Hunt, target: Key) -> list[list[int]]:
        """Whom to begin with, when who is isolated alone is looked for: also who descends from it by the plane's word alone."""
        tasks = hunt.look()
        born = set(map(key, family(tasks, {target})))
        wanted = [target, *(key(task) for task in hunt.members(tasks) if key(task) not in born)]
        known = [each for each in agent.isolated_parts if tuple(each) not in wanted]
        return [*known, *(list(each) for each in wanted)]

    def _nobody_left(self, agent: Living) -> None:
        """Who was isolated alone has ended, and what was left in its sockets goes too."""
        with self._turns[agent.id]:
            if not agent.isolated_parts or self._isolator.part.again(agent):
                return
            self._isolator.destroy([(agent, isolation_of(agent))])
            self._release(agent, response_pb2.Response(), freeze=False, isolation=True)
            order = Order(reason="who was isolated has ended", requested_by="rubicon-sensor", response_id="")
            self._announce(agent, order, response_pb2.ACTION_RELEASE)

    def _release_part(self, agent: Living, hunt: Hunt, response: response_pb2.Response) -> None:
        tasks = hunt.look()
        isolated_too = self._isolator.part.marked(agent, tasks) if agent.isolated_parts else set()
        rest = isolated_too.difference(map(key, hunt.members(tasks)))
        if rest and rest != isolated_too:
            raise InvalidArgument(f"{len(rest)} others are isolated with it: release agent {agent.name}")
        steps: list[str] = []
        self._freezer.thaw_part(agent, hunt, steps)
        if not agent.stands:
            self._registry.change(agent.id, freeze_expires_ns=0)
        if isolated_too and not rest:
            response.steps.extend(step for step in steps if step != "nothing was in force")
            self._release(agent, response, freeze=False, isolation=True)
        else:
            response.steps.extend(steps)

    def _judge(self, response: response_pb2.Response, outcome: Outcome) -> None:
        self._record.left(response, ((process, "", why) for process, why in outcome.holders.items()))
        errors = [] if outcome.settled else ["processes are born faster than they are found: isolate the agent"]
        if outcome.connected:
            errors.append(f"{outcome.connected} connections are still open; every packet of theirs is dropped")
        elif outcome.holders:
            errors.append(f"{len(outcome.holders)} processes hold sockets that no hook governs: kill them (--strict)")
        if response.isolation.unix and not self._kernel.refuses_unix:
            errors.append(
                "Unix sockets are not refused: this kernel has no hook for them (Linux 6.7); all else is in force"
            )
        response.error = "; ".join(errors)

    def _finished(self, response: response_pb2.Response, started: int, expires_ns: int) -> response_pb2.Response:
        response.state = FAILED if response.error else VERIFIED
        response.finished_at.GetCurrentTime()
        if expires_ns:
            wall = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) + expires_ns
            response.expires_at.FromNanoseconds(wall)
        response.elapsed_ns = time.monotonic_ns() - started
        return response

    def killed(self, agent: Living, order: Order, target: Key | None = None) -> None:
        """Tell the plane of a kill that it did not ask for."""
        self._announce(agent, order, response_pb2.ACTION_KILL, target)


def _must_live(agent: Living, hunt: Hunt, target: Key) -> None:
    if not hunt.members(hunt.look()):
        raise ProcessNotFound(f"process {target[0]} (start {target[1]}) is not a living process of agent {agent.name}")
