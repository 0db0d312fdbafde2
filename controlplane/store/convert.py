"""Entities of the model as messages of the wire, and as rows."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane import model
from controlplane.store.rows import Row
from rubicon.v1 import agent_pb2, alert_pb2, event_pb2, flow_pb2, process_pb2, response_pb2

_SECOND = 1_000_000_000
_FARTHEST = 2**63 - 1


def stamp(wall_ns: int) -> Timestamp:
    """Wall-clock nanoseconds as a Timestamp."""
    return Timestamp(seconds=wall_ns // _SECOND, nanos=wall_ns % _SECOND)


def nanoseconds(time: Timestamp) -> int:
    """The inverse; 0 for the empty message. What 64 bits cannot hold (before 1677, after 2262) becomes their end."""
    return max(-_FARTHEST, min(time.seconds * _SECOND + time.nanos, _FARTHEST))


def text(raw: bytes) -> str:
    r"""Bytes as people can read them; what is not UTF-8 becomes \xNN."""
    return raw.decode("utf-8", "backslashreplace")


def process_id(boot: model.Boot, key: model.ProcessKey) -> process_pb2.ProcessId:
    """A process's identity anywhere."""
    return process_pb2.ProcessId(host=boot.host, boot_id=boot.boot_id, pid=key.pid, start_time_ns=key.start_time_ns)


def agent(entity: model.Agent) -> agent_pb2.Agent:
    """An agent."""
    out = agent_pb2.Agent(
        id=entity.id,
        name=entity.name,
        labels=entity.labels,
        state=entity.state,  # type: ignore[arg-type]
        host=entity.boot.host if entity.boot else "",
        started_at=stamp(entity.started_wall_ns),
        ended_at=None if entity.ended_wall_ns is None else stamp(entity.ended_wall_ns),
        processes=entity.processes,
        processes_total=entity.processes_total,
        alerts=entity.alerts,
        flows=entity.flows,
        on_alert=entity.on_alert,
        lost=entity.lost,
        command=entity.command,
        reason=entity.reason,
        alert_id=entity.alert_id,
        cgroup_path=entity.cgroup_path,
        frozen=entity.frozen,
        isolated=entity.isolated,
        contained_reason=entity.contained_reason,
    )
    if entity.root is not None and entity.boot is not None:
        out.root.CopyFrom(process_id(entity.boot, entity.root))
    return out


def process(entity: model.Process) -> process_pb2.Process:
    """A process, with nothing masked."""
    credentials = entity.image.credentials
    parent = entity.parent
    return process_pb2.Process(
        id=process_id(entity.boot, entity.key),
        agent_id=entity.agent_id,
        parent_pid=parent.pid if parent else 0,
        parent_start_time_ns=parent.start_time_ns if parent else 0,
        exe=entity.exe,
        argv=[text(argument) for argument in entity.argv],
        cwd=entity.cwd,
        credentials=None if credentials is None else process_pb2.Credentials(**credentials._asdict()),
        started_at=stamp(entity.started_wall_ns),
        ended_at=None if entity.ended_wall_ns is None else stamp(entity.ended_wall_ns),
        status=entity.status,
        signal=entity.signal,
        execs=entity.execs,
        container=entity.container,
    )


def flow(entity: model.Flow) -> flow_pb2.Flow:
    """A flow."""
    return flow_pb2.Flow(
        cookie=entity.cookie,
        family=entity.family,
        type=entity.type,
        protocol=entity.protocol,
        source=entity.source,
        source_port=entity.source_port,
        destination=entity.destination,
        destination_port=entity.destination_port,
        direction=entity.direction,  # type: ignore[arg-type]
        netns_cookie=entity.netns_cookie,
    )


def alert(entity: model.Alert) -> alert_pb2.Alert:
    """An alert, with nothing masked."""
    out = alert_pb2.Alert(
        id=entity.id,
        time=stamp(entity.wall_ns),
        agent_id=entity.agent_id,
        agent_name=entity.agent_name,
        detector=entity.detector,
        title=entity.title,
        severity=entity.severity,  # type: ignore[arg-type]
        techniques=entity.techniques,
        process=None if entity.process is None else process(entity.process),
        ancestors=[process(ancestor) for ancestor in entity.ancestors],
        coverage=entity.coverage,
        response=entity.response,
        response_id=entity.response_id,
        repeats=entity.repeats,
        last_time=stamp(entity.last_wall_ns) if entity.last_wall_ns else None,
        host=entity.boot.host,
    )
    if entity.flow is not None:
        out.flow.protocol = entity.flow.protocol
        out.flow.source = entity.flow.source
        out.flow.destination = entity.flow.destination
        out.flow.cookie = entity.flow.cookie
    for item in entity.evidence:
        evidence = out.evidence.add(kind=item.kind, text=item.text, time=stamp(item.wall_ns), fields=item.fields)
        if item.record is not None:
            evidence.record.CopyFrom(event_pb2.RecordId(**item.record._asdict()))
    return out


def response(entity: model.Response) -> response_pb2.Response:
    """A response."""
    target = response_pb2.Target(agent=entity.agent_id)
    if entity.process is not None:
        target = response_pb2.Target(process=process_id(entity.boot, entity.process))
    return response_pb2.Response(
        id=entity.id,
        action=entity.action,  # type: ignore[arg-type]
        target=target,
        agent_id=entity.agent_id,
        state=entity.state,  # type: ignore[arg-type]
        reason=entity.reason,
        requested_by=entity.requested_by,
        alert_id=entity.alert_id,
        requested_at=stamp(entity.requested_wall_ns),
        finished_at=None if entity.finished_wall_ns is None else stamp(entity.finished_wall_ns),
        killed=entity.killed,
        elapsed_ns=entity.elapsed_ns,
        survivors=[
            response_pb2.Survivor(id=process_id(s.boot, s.key), comm=s.comm, why=s.why) for s in entity.survivors
        ],
        steps=entity.steps,
        error=entity.error,
    )


def agent_row(entity: model.Agent, boot: int) -> Row:
    """Row of an agent; `boot` 0 while it is pending."""
    return agent_message_row(agent(entity), boot)


def agent_message_row(message: agent_pb2.Agent, boot: int) -> Row:
    """Row of an agent."""
    return {
        "id": message.id,
        "name": message.name,
        "state": message.state,
        "boot": boot or None,
        "started_ns": nanoseconds(message.started_at),
        "ended_ns": nanoseconds(message.ended_at) if message.HasField("ended_at") else None,
        "body": message.SerializeToString(),
    }


def process_row(entity: model.Process, boot: int) -> Row:
    """Row of a process. What the columns say is left out of the body: short processes are most of the database."""
    body = process(entity)
    body.ClearField("id")
    body.ClearField("agent_id")
    return {
        "boot": boot,
        "pid": entity.key.pid,
        "start_time_ns": entity.key.start_time_ns,
        "agent_id": entity.agent_id,
        "started_ns": entity.started_wall_ns,
        "ended_ns": entity.ended_wall_ns,
        "body": body.SerializeToString(),
    }


def flow_row(entity: model.Flow, boot: int) -> Row:
    """Row of a flow."""
    return {
        "boot": boot,
        "cookie": entity.cookie,
        "agent_id": entity.agent_id,
        "pid": entity.process.pid if entity.process else 0,
        "start_time_ns": entity.process.start_time_ns if entity.process else 0,
        "opened_ns": entity.opened_wall_ns,
        "closed_ns": entity.closed_wall_ns,
        "destination": entity.destination,
        "destination_port": entity.destination_port,
        "bytes_sent": entity.bytes_sent,
        "bytes_received": entity.bytes_received,
        "body": flow(entity).SerializeToString(),
    }


def alert_row(message: alert_pb2.Alert) -> Row:
    """Row of an alert."""
    return {
        "id": message.id,
        "agent_id": message.agent_id,
        "detector": message.detector,
        "severity": message.severity,
        "time_ns": nanoseconds(message.time),
        "body": message.SerializeToString(),
    }


def response_row(message: response_pb2.Response) -> Row:
    """Row of a response."""
    return {
        "id": message.id,
        "agent_id": message.agent_id,
        "state": message.state,
        "requested_ns": nanoseconds(message.requested_at),
        "body": message.SerializeToString(),
    }
