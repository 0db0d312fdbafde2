"""One agent: its processes, its flows, and which record says what about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from controlplane.model.agent import Agent
from controlplane.model.changes import Changes
from controlplane.model.flow import Flow, FlowState
from controlplane.model.keys import ProcessKey, process_key
from controlplane.model.process import Process
from controlplane.tree.flows import Flows
from controlplane.tree.image import image_of
from controlplane.tree.processes import Processes
from controlplane.tree.shared import Shared
from rubicon.v1 import agent_pb2, event_pb2, flow_pb2, response_pb2

Handler = Callable[[event_pb2.Event, int, Changes], None]
_DATAGRAM, _SIGKILL = 2, 9
_CONTAINING = (response_pb2.ACTION_FREEZE, response_pb2.ACTION_ISOLATE)


class AgentTree:
    """The living state of one agent; what it shows to detectors is the AgentView protocol.

    Only a process's own records make it known (its fork, exec, exit, a socket call). Records that the kernel attributes
    to a socket's owner (payload, packet, close) may come after the owner has gone and never do.
    """

    def __init__(self, agent: Agent, shared: Shared, coverage: list[str]) -> None:
        self.agent = agent
        self.processes = Processes(agent, shared)
        self.flows = Flows(agent, shared)
        self._shared = shared
        self._coverage = coverage
        self._paths: dict[int, str] = {}
        """Of cgroups, as this agent's processes have learned them."""
        self.handlers: dict[str, Handler] = {
            "fork": self._fork,
            "exec": self._exec,
            "exit": self._exit,
            "join": self._join,
            "process_snapshot": self._process_snapshot,
            "socket": self._socket,
            "bind": self._bind,
            "listen": self._listen,
            "connect": self._connect,
            "send": self._send,
            "establish": self._establish,
            "close": self._close,
            "payload": self._payload,
            "packet": self._packet,
            "unix_connect": self._unix,
            "unix_send": self._unix,
            "enrol": self._enrol,
            "finish": self._finish,
            "contain": self._contain,
            "loss": self._loss,
        }

    @property
    def id(self) -> str:
        """Agent id."""
        return self.agent.id

    @property
    def name(self) -> str:
        """Agent name."""
        return self.agent.name

    @property
    def host(self) -> str:
        """Host it runs on."""
        return self._shared.boot.host

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels as the orchestrator gave them."""
        return self.agent.labels

    def process(self, key: ProcessKey) -> Process | None:
        """The process, ended ones too for a while."""
        return self.processes.by_key.get(key)

    def ancestors(self, key: ProcessKey) -> Iterable[Process]:
        """Parent first, only inside the agent."""
        return self.processes.ancestors(key)

    def descendants(self, key: ProcessKey) -> Iterable[Process]:
        """By start time."""
        return self.processes.descendants(key)

    def flow(self, cookie: int) -> Flow | None:
        """The flow of a socket, closed ones too for a while."""
        return self.flows.by_cookie.get(cookie)

    def flows_of(self, key: ProcessKey) -> Iterable[Flow]:
        """Flows that the process owns, oldest first."""
        return self.flows.of(key)

    def coverage_missing(self) -> list[str]:
        """What this host does not see."""
        return list(self._coverage)

    def leave(self) -> None:
        """Leave memory."""
        self.processes.forget_all()
        self.flows.forget_all()

    def rebooted(self, offset_ns: int, changes: Changes) -> None:
        """The host has booted anew: whatever lived is gone."""
        if not self.agent.ended:
            self._end("exited", self._shared.now_ns, offset_ns, changes)

    def _fork(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        fork = event.fork
        maker = process_key(event.process)
        child = process_key(fork.child)
        if child is None:
            return
        if maker is not None:
            self.processes.make(maker, offset_ns, changes)
        process = self.processes.make(child, offset_ns, changes)
        if process is None:
            return
        process.namespace_pid = fork.namespace_pid
        self.processes.fork(process, maker, process_key(fork.parent), event.time_ns, changes)
        self.processes.cgroup(process, fork.cgroup_id, event.time_ns)

    def _exec(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        process = self._own(event, offset_ns, changes)
        if process is None:
            return
        record = event.exec
        time_ns = event.time_ns
        self.processes.parent(process, process_key(record.parent), time_ns)
        self.processes.cgroup(process, record.cgroup_id, time_ns)
        self.processes.exec(process, image_of(record, time_ns), changes)

    def _exit(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        process = self._own(event, offset_ns, changes)
        if process is not None:
            record = event.exit
            self.processes.exit(process, event.time_ns, offset_ns, record.status, record.signal, record.core_dumped)
            changes.agent_of[self.agent.id] = self.agent
        self._shared.sweep()

    def _join(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        join = event.join
        if join.cgroup_path:
            self._shared.cgroup_path(join.cgroup_id, join.cgroup_path)
            if self._paths.get(join.cgroup_id) != join.cgroup_path:
                # once: it looks at every process, and a bomb that moves about joins thousands of times a second
                self._learned(join.cgroup_id, join.cgroup_path, changes)
        target = process_key(join.target)
        if target is None:
            return
        if join.reason == event_pb2.JOIN_REASON_ENROLLED:
            process = self.processes.make(target, offset_ns, changes)
        else:
            process = self.processes.by_key.get(target)
        if process is not None:
            self.processes.cgroup(process, join.cgroup_id, event.time_ns)
            changes.process_of[target] = process

    def _learned(self, cgroup_id: int, path: str, changes: Changes) -> None:
        if len(self._paths) >= self._shared.limits.cgroup_paths:
            self._paths.clear()
        self._paths[cgroup_id] = path
        self.processes.learned_path(cgroup_id, changes)

    def _process_snapshot(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        process = self._own(event, offset_ns, changes)
        if process is None:
            return
        snapshot = event.process_snapshot
        self.processes.parent(process, process_key(snapshot.parent), event.time_ns)
        self.processes.cgroup(process, snapshot.exec.cgroup_id, event.time_ns)
        self.processes.snapshot(process, image_of(snapshot.exec, event.time_ns), changes)

    def _socket(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        record = event.socket
        self._flow(event, record.flow, FlowState.DENIED if record.refused else FlowState.CREATED, offset_ns, changes)

    def _bind(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        record = event.bind
        self._flow(event, record.flow, FlowState.DENIED if record.refused else FlowState.BOUND, offset_ns, changes)

    def _listen(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        self._flow(event, event.listen.flow, FlowState.LISTENING, offset_ns, changes)

    def _connect(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        record = event.connect
        state = FlowState.DATAGRAM if record.flow.type == _DATAGRAM else FlowState.CONNECTING
        self._flow(event, record.flow, FlowState.DENIED if record.refused else state, offset_ns, changes)

    def _send(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        record = event.send
        self._flow(event, record.flow, FlowState.DENIED if record.refused else FlowState.DATAGRAM, offset_ns, changes)

    def _establish(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        owner = process_key(event.process)
        flow = self.flows.seen(event.establish.flow, owner, event.time_ns, offset_ns, changes)
        if flow is not None:
            self.flows.state(flow, FlowState.ESTABLISHED, event.time_ns, offset_ns)

    def _close(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        self.flows.close(event, process_key(event.process), offset_ns, changes)

    def _payload(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        self.flows.payload(event, process_key(event.process), offset_ns, changes)

    def _packet(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        self.flows.bytes(event.packet, event, process_key(event.process), offset_ns, changes)

    def _unix(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        key = process_key(event.process)
        if key is not None and key not in self.processes.by_key:
            self.processes.make(key, offset_ns, changes)

    def _flow(
        self, event: event_pb2.Event, record: flow_pb2.Flow, state: FlowState, offset_ns: int, changes: Changes
    ) -> None:
        """A socket call by the process itself."""
        key = process_key(event.process)
        if key is not None and key not in self.processes.by_key:
            self.processes.make(key, offset_ns, changes)
        flow = self.flows.seen(record, key, event.time_ns, offset_ns, changes)
        if flow is not None:
            self.flows.state(flow, state, event.time_ns, offset_ns)

    def _own(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> Process | None:
        key = process_key(event.process)
        return self.processes.make(key, offset_ns, changes) if key is not None else None

    def _enrol(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        enrol = event.enrol
        agent = self.agent
        agent.enrolled = True
        agent.name = enrol.name or agent.name
        agent.labels = dict(enrol.labels)
        agent.on_alert = enrol.on_alert or agent.on_alert
        agent.command = tuple(enrol.command)
        agent.enrolled_by = enrol.enrolled_by
        agent.cgroup_path = enrol.cgroup_path
        agent.cgroup_ids = tuple(enrol.cgroup_ids)
        agent.cgroup_owned = enrol.cgroup_owned
        agent.started_wall_ns = event.time_ns + offset_ns
        if agent.cgroup_path:
            if len(agent.cgroup_ids) == 1:
                self._shared.cgroup_path(agent.cgroup_ids[0], agent.cgroup_path)
            self.processes.learned_path(0, changes)
        root = process_key(enrol.root)
        if root is not None:
            agent.root = root
            self.processes.make(root, offset_ns, changes)
        changes.agent_of[agent.id] = agent

    def _finish(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        self._end(event.finish.reason, event.time_ns, offset_ns, changes)

    def _end(self, reason: str, time_ns: int, offset_ns: int, changes: Changes) -> None:
        agent = self.agent
        agent.ended_ns = time_ns
        agent.ended_wall_ns = time_ns + offset_ns
        root = self.processes.by_key.get(agent.root) if agent.root and agent.reason else None
        if reason == "killed" or (root and root.signal == _SIGKILL):
            agent.state = agent_pb2.AGENT_STATE_KILLED
        elif agent.state != agent_pb2.AGENT_STATE_KILLED:
            agent.state = agent_pb2.AGENT_STATE_FINISHED
        agent.detached = reason == "finished"
        agent.frozen = agent.isolated = False
        agent.contained_reason = ""
        if not agent.detached:
            self.processes.finish(time_ns, offset_ns, changes)
        changes.agent_of[agent.id] = agent

    def _contain(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        contain = event.contain
        if not self.agent.ended_ns:  # what is told by another thread of the sensor may come after the end
            self.agent.frozen, self.agent.isolated = contain.frozen, contain.isolated
            if not contain.frozen and not contain.isolated:
                self.agent.contained_reason = ""
            elif contain.action in _CONTAINING and not contain.process.pid:  # what is only told again says no reason
                self.agent.contained_reason = contain.reason
        if contain.action == response_pb2.ACTION_KILL and not contain.process.pid:
            self.agent.reason = self.agent.reason or contain.reason
        changes.agent_of[self.agent.id] = self.agent

    def _loss(self, event: event_pb2.Event, offset_ns: int, changes: Changes) -> None:
        self.agent.lost += event.loss.count
        changes.agent_of[self.agent.id] = self.agent
