"""What becomes of agents after their enrolment: their end, unfinished kills, tasks that left their cgroup.

The kernel's own counter (`agent_state.tasks`) and exit records are hints that it is time to look; the task iterator and
cgroup.procs decide.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from rubicon.v1 import event_pb2
from rubicon.v1.ids import agent_id
from sensor.act.cgroup import Cgroup
from sensor.act.contain import Containment
from sensor.act.enrol import Enroller
from sensor.act.kill import Killer, Order
from sensor.act.part import MOST
from sensor.act.pressure import told
from sensor.act.processes import Task, key
from sensor.act.registry import Living
from sensor.errors import InvalidArgument, SensorError
from sensor.kernel.enums import AgentFlag
from sensor.kernel.maps import AgentState

if TYPE_CHECKING:
    from sensor.settings import EnrolSettings

log = structlog.get_logger(part="watch")


class Watch:
    """Looks after living agents. `sweep` is called from one thread, again and again; the others from any."""

    def __init__(
        self,
        enroller: Enroller,
        killer: Killer,
        containment: Containment,
        settings: EnrolSettings,
        on_condemned: Callable[[Living], None],
    ) -> None:
        """`on_condemned` is told of an agent whose kill has to be begun or begun again; it must not block."""
        self._enroller = enroller
        self._registry = enroller.registry
        self._kernel = enroller.kernel
        self._killer = killer
        self._containment = containment
        self._settings = settings
        self._on_condemned = on_condemned
        self._ending: list[tuple[float, Living]] = []
        self._asked: dict[str, float] = {}
        self._sockets_again = 0.0

    @property
    def idle(self) -> bool:
        """Nothing to look after."""
        return not (len(self._registry) or self._ending or self._registry.leftovers)

    @property
    def calm(self) -> bool:
        """Nobody has to be held, or to be made sure of, and there is nothing to clear up: only agents that live."""
        held = any(agent.stands or agent.isolated or agent.condemned for agent in self._registry)
        return not (held or self._ending or self._registry.leftovers)

    def adopt(self) -> None:
        """After a start: make registry and kernel agree, so that agents which live stay watched under their names."""
        with self._enroller.lock:
            states = dict(self._kernel.agents.items())
            tagged = {task.agent for task in self._kernel.tasks() if task.agent}
            for agent in self._registry:
                if agent.number not in states and not self._enroller.retake(agent):
                    self._end(agent)
            for number, state in states.items():
                if self._registry.by_number(number):
                    continue
                stray = Living(id=agent_id(number), name=agent_id(number), number=number, cgroup_id=state.cgroup_id)
                stray.part = secrets.randbelow(MOST)  # none whose marks are still about
                if number in tagged:
                    log.warning("agent without a name adopted: the registry was lost", agent=stray.id)
                    stray.started_at, stray.started_ns = time.time(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
                    home = Cgroup.at(f"/{self._enroller.instance.cgroup}/{stray.id}")
                    if home.exists and home.id == state.cgroup_id:
                        stray.cgroup_path, stray.cgroup_owned = home.path, True
                    self._registry.add(stray)
                else:
                    self._containment.ended(stray)
                    self._enroller.clear(stray)
            for agent in self._registry:
                self._enroller.rewatch(agent)
            self._containment.adopt()
        self._killer.adopt()
        self.sweep()

    def sweep(self) -> None:
        """One look: end the agents that have ended, follow leavers, ask for the kills that are open."""
        with self._enroller.lock:
            tasks = self._kernel.tasks()
            states = dict(self._kernel.agents.items())
            by_agent: dict[int, list[Task]] = defaultdict(list)
            for task in tasks:
                if task.agent and task.state not in "ZX":
                    by_agent[task.agent].append(task)
            follow = False
            for agent in self._registry:
                state = states.get(agent.number)
                flags = state.flags if state else 0
                members = by_agent.get(agent.number, [])
                if flags & AgentFlag.TAG_PRESSURE:
                    lost = self._kernel.untagged.of(agent.number)
                    members = members + [task for task in tasks if key(task) in lost and task.state not in "ZX"]
                if state and flags & AgentFlag.CONDEMNED and not agent.condemned:
                    self._condemned(agent, state, members)  # also who has ended since: it was killed
                if not members and not self._housed(agent, flags):
                    self._end(agent)
                    continue
                follow = follow or agent.isolated or self._outside(agent, flags, members)
                if flags & AgentFlag.CONDEMNED:
                    self._ask(agent)
            if follow != self._kernel.leavers_followed:
                self._kernel.follow_leavers(follow)
            isolating = any(agent.isolated for agent in self._registry)
            if isolating != self._kernel.is_isolating:
                self._kernel.isolating(isolating)
            self._own_sockets()
            self._clean()
        self._containment.tend()

    def follow(self) -> None:
        """Somebody has just left its agent's cgroup: see its packets on the root, until a sweep finds nobody there."""
        with self._enroller.lock:
            self._kernel.follow_leavers(True)

    def finish(self, id_or_name: str, *, detach: bool, requested_by: str = "") -> Living:
        """End the watch of an agent; its living processes go on unwatched when `detach` is set.

        Args:
            requested_by: whoever asked for it here, and not through the plane.

        Raises:
            AgentNotFound: none lives by this id or name.
            InvalidArgument: it has living processes and is not to be detached.
        """
        with self._enroller.lock:
            agent = self._registry.find(id_or_name)
            members = [task for task in self._kernel.tasks() if task.agent == agent.number]
            if members and (agent.stands or agent.isolated):
                raise InvalidArgument(f"agent {agent.name} is frozen or isolated: release it first")
            if members and not detach:
                raise InvalidArgument(f"agent {agent.name} has {len(members)} living processes: kill it, or detach")
            self._emit(agent, "finished", requested_by)
            self._enroller.forget(agent)
        return agent

    def _own_sockets(self) -> None:
        """Sockets that were passed to an agent's process since have no owner. A look takes at most 1/200 of the time."""
        now = time.monotonic()
        if len(self._registry) and now >= self._sockets_again:
            self._kernel.tag_sockets(0)
            self._sockets_again = time.monotonic() + 200 * (time.monotonic() - now)

    def _housed(self, agent: Living, flags: int) -> bool:
        """Somebody untagged is in its cgroup and may be the agent's (a stranger is not)."""
        cgroup = self._enroller.cgroup(agent)
        return bool(cgroup and not flags & AgentFlag.STRANGER and cgroup.processes())

    def _outside(self, agent: Living, flags: int, members: list[Task]) -> bool:
        if not agent.cgroup_path:
            return True
        if not flags & AgentFlag.LEAVERS:
            return False
        cgroup = self._enroller.cgroup(agent)
        inside = cgroup.ids() if cgroup else set()
        return any(task.cgroup_id not in inside for task in members)

    def _ask(self, agent: Living) -> None:
        now = time.monotonic()
        if self._killer.is_active(agent.number) or now < self._asked.get(agent.id, 0):
            return
        self._asked[agent.id] = now + self._settings.condemned_again_s
        self._on_condemned(agent)

    def _condemned(self, agent: Living, state: AgentState, members: list[Task]) -> None:
        """The kernel has condemned an agent by itself: remember why, and tell it."""
        why = "condemned in the kernel"
        if state.flags & AgentFlag.TAG_PRESSURE:
            why = "the tag hash is nearly full"
            event = told(self._kernel, agent, state, members)
            self._enroller.emit(event)
            counts = event.tag_pressure
            log.warning("an agent fills the tag hash", agent=agent.id, processes=counts.processes, tags=counts.tags)
        self._registry.change(agent.id, condemned=True, reason=why)
        self._containment.killed(agent, Order(reason=why, requested_by="rubicon-sensor"))

    def _end(self, agent: Living) -> None:
        self._emit(agent, "killed" if agent.condemned else "exited")
        self._registry.remove(agent.id)
        self._asked.pop(agent.id, None)
        # its last connections are still closing in the kernel and their packets are counted meanwhile
        self._ending.append((time.monotonic() + self._settings.linger_s, agent))
        log.info("agent ended", agent=agent.id, name=agent.name, killed=agent.condemned)

    def _emit(self, agent: Living, reason: str, requested_by: str = "") -> None:
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        finish = event_pb2.Finish(reason=reason, requested_by=requested_by)
        self._enroller.emit(event_pb2.Event(time_ns=now, agent_id=agent.id, finish=finish))

    def _clean(self) -> None:
        now = time.monotonic()
        due = [agent for when, agent in self._ending if when <= now]
        self._ending = [(when, agent) for when, agent in self._ending if when > now]
        for agent in due:
            try:
                self._containment.ended(agent)
                self._enroller.clear(agent)
            except (OSError, SensorError) as error:
                log.warning("agent's remains could not be removed", agent=agent.id, error=str(error))
        for path in self._registry.leftovers:
            if Cgroup.at(path).remove():
                self._registry.leave(path, behind=False)
