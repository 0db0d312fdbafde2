"""The look that the sensor takes at itself, once a second while an agent lives: what was undone, who could have done it.

Whoever holds the thing that was changed, or traces a daemon, is named by the kernel's word. Where only the change is seen,
every agent that could have made it is named, and the detail says how many those are: an agent that has CAP_SYS_ADMIN or CAP_BPF
on the host, or had it within the last look. To an agent without these the kernel refuses all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

from rubicon.v1 import event_pb2
from rubicon.v1.instance import Instance
from sensor.act.contain import Containment
from sensor.act.enrol import Enroller
from sensor.act.isolate import in_force
from sensor.act.processes import Key, key
from sensor.collect.collector import Collector
from sensor.errors import SensorError
from sensor.guard.changes import Changes
from sensor.guard.daemons import Daemons
from sensor.guard.files import Files
from sensor.guard.holders import holders
from sensor.guard.report import Report
from sensor.guard.suspects import Suspects
from sensor.guard.tags import Home, LostTags
from sensor.kernel.coverage import Fact
from sensor.kernel.enums import AgentFlag, EventKind
from sensor.kernel.tasks import Task
from sensor.kernel.upkeep import Found

log = structlog.get_logger(part="guard")
LOOK_S = 1.0
"""Seconds between looks: how long a hook may be off. A look takes about 2 ms with one agent."""
_WORDS: Mapping[str, str] = {
    "link-detached": "the hook {name} was detached",
    "link-replaced": "the hook {name} ran somebody else's program",
    "pin-removed": "the pin of {name} was removed",
    "settings-changed": "the hooks' settings were changed",
    "foreign-program": "program {name} of somebody else uses the sensor's maps",
    "agent-removed": "agent {name} was removed from the kernel's maps",
    "isolation-removed": "the isolation of agent {name} was taken away",
}


class Guard:
    """`start` and `stop` once each; a thread of its own looks in between."""

    def __init__(
        self, instance: Instance, enroller: Enroller, containment: Containment, emit: Callable[[event_pb2.Event], None]
    ) -> None:
        self._instance = instance
        self._enroller = enroller
        self._containment = containment
        self._kernel = enroller.kernel
        self._registry = enroller.registry
        self._report = Report(emit)
        self._files = Files(instance.state_dir, instance.log_dir, self._kernel.tags, self._report)
        self._changes = Changes(instance.state_dir, instance.log_dir, self._kernel.tags, self._report)
        self._daemons = Daemons(self._kernel)
        self._suspects = Suspects()
        self._lost = LostTags(self._kernel.tags)
        self._unsealed: dict[str, str] = {}
        self._before: set[int] = set()
        self._unisolated: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    @property
    def coverage(self) -> list[Fact]:
        """What of it works here."""
        unsealed = "; ".join(f"{name}: {why}" for name, why in self._unsealed.items())
        missing = f"host root may change these maps by bpf(2): {unsealed}" if unsealed else ""
        sealed = Fact("sealed-maps", "BPF_MAP_FREEZE", "bpf", "partial" if missing else "full", missing, False)
        told = self._changes.refused
        why = f"files of the daemons that are removed or renamed are not told of: {told}" if told else ""
        changes = Fact("daemon-file-changes", "fsnotify", "fanotify", "missing" if told else "full", why, True)
        return [
            sealed,
            self._files.fact,
            changes,
            Fact("self-check", "bpf_link_get_info", "bpf, /proc", "full", "", True),
        ]

    def subscribe(self, collector: Collector) -> None:
        """See what programs agents begin, and what signals they send to the daemons."""
        collector.subscribe(self._suspects.saw_exec, (EventKind.EXEC,))
        collector.subscribe(self._daemons.saw_signal, (EventKind.TAMPER,))
        collector.subscribe(self._changes.saw_exit, (EventKind.EXIT,))

    def plane_connected(self) -> None:
        """Find out which process the plane is."""
        self._daemons.plane_is_at(self._instance.plane_socket)
        self._daemons.look()

    def start(self) -> None:
        """Seal the maps, guard the files, look again and again."""
        self._unsealed = self._kernel.upkeep.seal()
        self._files.start()
        self._changes.start()
        self._daemons.look()
        self._thread.start()

    def stop(self) -> None:
        """End it; what is sealed stays so."""
        self._stop.set()
        self._thread.join()
        self._files.stop()
        self._changes.stop()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self._files.look()
                self._changes.look()
                self._daemons.look()
                if len(self._registry) or self._before:
                    self.look()
            except (OSError, SensorError) as error:
                log.error("the sensor could not look at itself", error=str(error))

    def look(self) -> None:
        """One look at everything that an agent could have changed."""
        with self._enroller.lock:
            tasks = self._kernel.tasks()
            living = {agent.number for agent in self._registry}
            found = self._kernel.upkeep.look() + self._restore()
            lost = self._lost.look(tasks, self._homes())
        suspects = self._suspects.look(tasks, living | self._before)
        self._before = living
        for task, agent in lost:
            detail = f"the tag of process {task.pid} ({task.comm}) was removed; it has it again"
            self._report.tamper(agent, key(task), "tag-removed", detail, again=True)
        for each in found:
            self._blame(each, suspects)
        self._look_at_processes(tasks, suspects)

    def _blame(self, found: Found, suspects: Mapping[int, Key]) -> None:
        words = _WORDS[found.what].format(name=found.name)
        words += "; it is as it was" if found.restored else ""
        if not suspects:
            log.error("something of the sensor was changed, by nobody who is an agent", what=words)
        count = len(suspects)
        whose = "the only agent that could" if count == 1 else f"one of {count} agents that could"
        for agent, process in suspects.items():
            self._report.tamper(agent, process, found.what, f"{words}; {whose} have done it", again=found.restored)

    def _look_at_processes(self, tasks: list[Task], suspects: Mapping[int, Key]) -> None:
        by_pid = {task.pid: task for task in tasks}
        able = (task for task in tasks if task.agent in suspects)
        for task, kind, identity in holders(able, self._kernel.upkeep.ours() if suspects else set()):
            self._report.tamper(task.agent, key(task), "bpf-access", f"holds {kind} {identity} of the sensor's")
        for daemon, tracer in self._daemons.tracers() if len(self._registry) else ():
            found = by_pid.get(tracer)
            if found and found.agent:
                detail = f"traces a thread of the {daemon.name.lower()}"
                self._report.tamper(found.agent, key(found), "ptrace", detail)

    def _homes(self) -> list[Home]:
        homes = []
        for agent in self._registry:
            state = self._kernel.agents.get(agent.number)
            alone = state and agent.cgroup_path and not state.flags & AgentFlag.STRANGER
            homes.append(Home(agent.number, (agent.root_pid, agent.root_start_time), agent.cgroup_id if alone else 0))
        return homes

    def _restore(self) -> list[Found]:
        """Agents that are not in the kernel as they are in the registry."""
        found = []
        unisolated = set()
        for agent in self._registry:
            state = self._kernel.agents.get(agent.number)
            if state is None:
                found.append(Found("agent-removed", agent.name, self._enroller.retake(agent)))
            elif agent.isolated and not in_force(agent, state.flags):
                unisolated.add(agent.number)
                if agent.number in self._unisolated:  # for a moment it is so while it is released
                    self._containment.adopt()
                    found.append(Found("isolation-removed", agent.name, restored=True))
        self._unisolated = unisolated
        return found
