"""Entities as protobuf messages: the one place that knows both spellings."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.model.agent import Agent
from controlplane.model.alert import Alert, Evidence
from controlplane.model.flow import Flow
from controlplane.model.keys import Boot, ProcessKey
from controlplane.model.process import Process
from controlplane.model.response import Response, Survivor
from rubicon.v1 import agent_pb2, alert_pb2, event_pb2, flow_pb2, process_pb2, response_pb2


def timestamp(wall_ns: int | None) -> Timestamp | None:
    """Wall-clock nanoseconds as a Timestamp; None for None."""
    if wall_ns is None:
        return None
    seconds, nanos = divmod(wall_ns, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def text(data: bytes) -> str:
    r"""Bytes of an argument as text: UTF-8, and \xNN for what is not."""
    return data.decode("utf-8", "backslashreplace")


def process_id(boot: Boot, key: ProcessKey) -> process_pb2.ProcessId:
    """A process anywhere."""
    return process_pb2.ProcessId(host=boot.host, boot_id=boot.boot_id, pid=key.pid, start_time_ns=key.start_time_ns)


def process(entity: Process) -> process_pb2.Process:
    """A process; secrets are not masked here."""
    image = entity.image
    message = process_pb2.Process(
        id=process_id(entity.boot, entity.key),
        agent_id=entity.agent_id,
        exe=image.exe,
        argv=[text(argument) for argument in image.argv],
        cwd=image.cwd,
        started_at=timestamp(entity.started_wall_ns),
        ended_at=timestamp(entity.ended_wall_ns),
        status=entity.status,
        signal=entity.signal,
        execs=entity.execs,
        container=entity.container,
    )
    if entity.parent is not None:
        message.parent_pid, message.parent_start_time_ns = entity.parent
    if image.credentials is not None:
        uid, euid, gid, egid, capabilities = image.credentials
        message.credentials.CopyFrom(
            process_pb2.Credentials(uid=uid, euid=euid, gid=gid, egid=egid, capabilities=capabilities)
        )
    return message


def flow(entity: Flow) -> flow_pb2.Flow:
    """A flow's addresses."""
    return flow_pb2.Flow(
        cookie=entity.cookie,
        family=entity.family,
        type=entity.type,
        protocol=entity.protocol,
        source=entity.source,
        source_port=entity.source_port,
        destination=entity.destination,
        destination_port=entity.destination_port,
        direction=entity.direction,  # type: ignore[arg-type]  # an open enum's number
        netns_cookie=entity.netns_cookie,
    )


def agent(entity: Agent) -> agent_pb2.Agent:
    """An agent with its counters."""
    message = agent_pb2.Agent(
        id=entity.id,
        name=entity.name,
        labels=entity.labels,
        state=entity.state,  # type: ignore[arg-type]
        host=entity.boot.host if entity.boot else "",
        started_at=timestamp(entity.started_wall_ns),
        ended_at=timestamp(entity.ended_wall_ns),
        processes=entity.processes,
        processes_total=entity.processes_total,
        alerts=entity.alerts,
        flows=entity.flows,
        on_alert=entity.on_alert,
        lost=entity.lost,
        command=entity.command,
        reason=entity.reason,
        cgroup_path=entity.cgroup_path,
    )
    if entity.root is not None and entity.boot is not None:
        message.root.CopyFrom(process_id(entity.boot, entity.root))
    return message


def evidence(entity: Evidence) -> alert_pb2.Evidence:
    """One thing that supports an alert."""
    record = event_pb2.RecordId(**entity.record._asdict()) if entity.record else None
    return alert_pb2.Evidence(
        kind=entity.kind, text=entity.text, time=timestamp(entity.wall_ns), record=record, fields=dict(entity.fields)
    )


def alert(entity: Alert) -> alert_pb2.Alert:
    """An alert; secrets are not masked here."""
    message = alert_pb2.Alert(
        id=entity.id,
        time=timestamp(entity.wall_ns),
        agent_id=entity.agent_id,
        agent_name=entity.agent_name,
        detector=entity.detector,
        title=entity.title,
        severity=entity.severity,  # type: ignore[arg-type]
        techniques=entity.techniques,
        process=process(entity.process) if entity.process else None,
        ancestors=[process(ancestor) for ancestor in entity.ancestors],
        evidence=[evidence(item) for item in entity.evidence],
        coverage=entity.coverage,
        response=entity.response,
        response_id=entity.response_id,
        repeats=entity.repeats,
        host=entity.boot.host,
    )
    if entity.flow is not None:
        peer = entity.flow
        message.flow.CopyFrom(
            alert_pb2.AlertFlow(
                protocol=peer.protocol, source=peer.source, destination=peer.destination, cookie=peer.cookie
            )
        )
    return message


def response(entity: Response) -> response_pb2.Response:
    """A response."""
    if entity.process is None:
        target = response_pb2.Target(agent=entity.agent_id)
    else:
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
        requested_at=timestamp(entity.requested_wall_ns),
        finished_at=timestamp(entity.finished_wall_ns),
        killed=entity.killed,
        elapsed_ns=entity.elapsed_ns,
        survivors=[survivor(item) for item in entity.survivors],
        steps=entity.steps,
        error=entity.error,
    )


def survivor(entity: Survivor) -> response_pb2.Survivor:
    """A process that is left."""
    return response_pb2.Survivor(id=process_id(entity.boot, entity.key), comm=entity.comm, why=entity.why)
