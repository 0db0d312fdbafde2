"""Real protobuf events, in few words."""

from __future__ import annotations

import itertools
import socket
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from controlplane.model import HostKey, ProcessKey
from rubicon.v1 import event_pb2, flow_pb2, ids, process_pb2

AGENT = "00000000a001"
HOST = HostKey("rome", "11111111-2222-3333-4444-555555555555", 1_700_000_000_000_000_000)
EPOCH = 77
SENSOR = ids.SENSOR_CPU


def key(pid: int, start: int | None = None) -> ProcessKey:
    """A process; its start time follows from its pid unless it is given."""
    return ProcessKey(pid, pid * 1000 if start is None else start)


def wire_key(process: ProcessKey | None) -> process_pb2.ProcessKey:
    """As in a message."""
    return (
        process_pb2.ProcessKey(pid=process.pid, start_time_ns=process.start_time_ns)
        if process
        else process_pb2.ProcessKey()
    )


class Kernel:
    """Makes records with a sequence for each CPU and a clock that rises by one microsecond a record."""

    def __init__(self, agent: str = AGENT, epoch: int = EPOCH, start_ns: int = 1_000_000_000) -> None:
        self.agent = agent
        self.epoch = epoch
        self.now = start_ns
        self._sequences: dict[int, Iterator[int]] = defaultdict(lambda: itertools.count(1))

    def event(
        self, process: ProcessKey | None, cpu: int = 0, time_ns: int | None = None, **kind: Any
    ) -> event_pb2.Event:
        """One event of one kind."""
        self.now += 1000
        return event_pb2.Event(
            record=event_pb2.RecordId(epoch=self.epoch, cpu=cpu, sequence=next(self._sequences[cpu])),
            time_ns=self.now if time_ns is None else time_ns,
            agent_id=self.agent,
            process=wire_key(process) if process else None,
            **kind,
        )

    def enrol(self, root: ProcessKey | None, name: str = "rollout", **facts: Any) -> event_pb2.Event:
        """The agent is enrolled."""
        enrol = event_pb2.Enrol(name=name, root=wire_key(root), **facts)
        return self.event(root, SENSOR, enrol=enrol)

    def fork(
        self, maker: ProcessKey, child: ProcessKey, parent: ProcessKey | None = None, cpu: int = 0, cgroup: int = 0
    ) -> event_pb2.Event:
        """A child is made; its parent is the maker unless it is given (CLONE_PARENT)."""
        fork = event_pb2.Fork(child=wire_key(child), parent=wire_key(parent or maker), cgroup_id=cgroup)
        return self.event(maker, cpu, fork=fork)

    def exec(
        self,
        process: ProcessKey,
        *argv: str | bytes,
        exe: str = "",
        parent: ProcessKey | None = None,
        cpu: int = 0,
        **facts: Any,
    ) -> event_pb2.Event:
        """A program is executed."""
        return self.event(process, cpu, exec=self.image(*argv, exe=exe, parent=parent, **facts))

    def image(
        self, *argv: str | bytes, exe: str = "", parent: ProcessKey | None = None, **facts: Any
    ) -> event_pb2.Exec:
        """What an exec says."""
        raw = [a if isinstance(a, bytes) else a.encode() for a in argv]
        exe = exe or "/bin/" + (raw[0].decode("utf-8", "replace") if raw else "true")
        return event_pb2.Exec(argv=raw, exe=exe, parent=wire_key(parent) if parent else None, **facts)

    def exit(self, process: ProcessKey, status: int = 0, signal: int = 0, cpu: int = 0) -> event_pb2.Event:
        """Its last thread ended."""
        return self.event(process, cpu, exit=event_pb2.Exit(status=status, signal=signal))

    def finish(self, reason: str = "exited") -> event_pb2.Event:
        """The agent ended."""
        return self.event(None, SENSOR, finish=event_pb2.Finish(reason=reason))

    def snapshot(self, process: ProcessKey, *argv: str, parent: ProcessKey | None = None) -> event_pb2.Event:
        """What /proc showed."""
        snapshot = event_pb2.ProcessSnapshot(parent=wire_key(parent) if parent else None, exec=self.image(*argv))
        return self.event(process, SENSOR, process_snapshot=snapshot)

    def flow(self, process: ProcessKey, kind: str, flow: flow_pb2.Flow, cpu: int = 0, **facts: Any) -> event_pb2.Event:
        """A record of a socket: socket, bind, listen, connect, send, establish, close, payload or packet."""
        message = {
            "socket": event_pb2.Socket,
            "bind": event_pb2.Bind,
            "listen": event_pb2.Listen,
            "connect": event_pb2.Connect,
            "send": event_pb2.Send,
            "establish": event_pb2.Establish,
            "close": event_pb2.Close,
            "payload": event_pb2.Payload,
            "packet": event_pb2.Packet,
        }[kind]
        return self.event(process, cpu, **{kind: message(flow=flow, **facts)})


def tcp(cookie: int, destination: str = "203.0.113.9", port: int = 22, **facts: Any) -> flow_pb2.Flow:
    """An outbound IPv4 TCP flow."""
    return flow_pb2.Flow(
        cookie=cookie,
        family=2,
        type=1,
        protocol=6,
        source=facts.pop("source", socket.inet_aton("10.0.3.7")),
        source_port=facts.pop("source_port", 40000 + cookie % 20000),
        destination=socket.inet_aton(destination),
        destination_port=port,
        direction=facts.pop("direction", flow_pb2.FLOW_DIRECTION_OUTBOUND),
        **facts,
    )


def tunnel(kernel: Kernel, process: ProcessKey, cookie: int = 5) -> list[event_pb2.Event]:
    """A process that runs `ssh -R` and speaks SSH to port 443: raises ssh-outbound and ssh-remote-forward."""
    flow = tcp(cookie, port=443)
    banner = b"SSH-2.0-OpenSSH_9.2\r\n"
    both = (True, False)
    return [
        kernel.exec(process, "ssh", "-N", "-R", "8080:localhost:22", "u@203.0.113.9", exe="/usr/bin/ssh"),
        kernel.flow(process, "connect", flow),
        kernel.flow(process, "establish", flow),
        *(kernel.flow(process, "payload", flow, outbound=out, data=banner, length=len(banner)) for out in both),
    ]
