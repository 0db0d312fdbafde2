"""The JSON objects of `--json`: stable names, documented in docs/cli.md. One function a noun."""

from __future__ import annotations

from typing import Any

from rubicon.client.records.agent import AgentRecord
from rubicon.client.records.alert import Alert
from rubicon.client.records.coverage import Coverage
from rubicon.client.records.event import Event
from rubicon.client.records.moment import rfc3339
from rubicon.client.records.process import Process
from rubicon.client.records.response import Response
from rubicon.client.records.rule import Rule


def agent(value: AgentRecord) -> dict[str, Any]:
    """A line of `ps`."""
    return {
        "id": value.id,
        "name": value.name,
        "labels": value.labels,
        "state": value.state,
        "host": value.host,
        "started_at": rfc3339(value.started_at_ns),
        "ended_at": rfc3339(value.ended_at_ns),
        "processes": value.process_count,
        "processes_total": value.process_total,
        "alerts": value.alert_count,
        "flows": value.flow_count,
        "lost": value.lost,
        "on_alert": value.on_alert,
        "command": list(value.command),
        "reason": value.reason,
        "alert_id": value.alert_id,
        "frozen": value.frozen,
        "isolated": value.isolated,
        "contained_reason": value.contained_reason,
    }


def brief(value: Process) -> dict[str, Any]:
    """A process inside an alert."""
    return {
        "pid": value.pid,
        "start_time": value.start_time,
        "boot_id": value.boot_id,
        "exe": value.exe,
        "argv": list(value.argv),
        "cwd": value.cwd,
        "uid": value.uid,
        "container": value.container,
    }


def process(value: Process, depth: int) -> dict[str, Any]:
    """A line of `tree`."""
    return {
        "depth": depth,
        **brief(value),
        "parent_pid": value.parent_pid,
        "started_at": rfc3339(value.started_at_ns),
        "ended_at": rfc3339(value.ended_at_ns),
        "status": value.status,
        "signal": value.signal,
    }


def event(value: Event) -> dict[str, Any]:
    """A line of `events`."""
    epoch, cpu, sequence = value.record
    return {
        "time": rfc3339(value.time_ns),
        "kind": value.kind,
        "agent": value.agent_id,
        "host": value.host,
        "boot_id": value.boot_id,
        "pid": value.pid,
        "start_time": value.start_time,
        "record": {"epoch": epoch, "cpu": cpu, "sequence": sequence},
        "cursor": value.cursor,
        value.kind: value.detail,
    }


def alert(value: Alert) -> dict[str, Any]:
    """A line of `alerts`."""
    flow = value.flow
    return {
        "id": value.id,
        "time": rfc3339(value.time_ns),
        "agent": value.agent_id,
        "agent_name": value.agent_name,
        "host": value.host,
        "detector": value.detector,
        "title": value.title,
        "severity": value.severity,
        "techniques": list(value.techniques),
        "process": brief(value.process) if value.process else None,
        "ancestors": [brief(each) for each in value.ancestors],
        "flow": {"protocol": flow.protocol, "source": flow.source, "destination": flow.destination} if flow else None,
        "evidence": [
            {"kind": each.kind, "text": each.text, "time": rfc3339(each.time_ns), "fields": each.fields}
            for each in value.evidence
        ],
        "coverage": list(value.coverage),
        "response": value.response,
        "response_id": value.response_id,
        "repeats": value.repeats,
        "last_time": rfc3339(value.last_time_ns),
    }


def response(value: Response) -> dict[str, Any]:
    """A line of `kill`, `freeze`, `isolate`, `release` and `responses`."""
    return {
        "id": value.id,
        "action": value.action,
        "agent": value.agent_id,
        "process": {"pid": value.process[0], "start_time": value.process[1]} if value.process else None,
        "state": value.state,
        "reason": value.reason,
        "requested_by": value.requested_by,
        "requested_at": rfc3339(value.requested_at_ns),
        "killed": value.killed,
        "elapsed_ms": round(value.elapsed_ns / 1e6, 3),
        "survivors": [
            {"pid": each.pid, "start_time": each.start_time, "name": each.name, "why": each.why}
            for each in value.survivors
        ],
        "steps": list(value.steps),
        "error": value.error,
        "expires_at": rfc3339(value.expires_at_ns),
        "destroyed": value.destroyed,
        "dry_run": value.dry_run,
        "members": [{"pid": each.pid, "start_time": each.start_time, "name": each.name} for each in value.members],
    }


def rule(value: Rule) -> dict[str, Any]:
    """A line of `rules`."""
    return {
        "name": value.name,
        "detector": value.detector,
        "labels": value.labels,
        "min_severity": value.min_severity,
        "action": value.action,
        "mode": value.mode,
        "max_agents_per_minute": value.max_agents_per_minute,
        "waiting": value.waiting,
        "held_back": value.held_back,
    }


def coverage(value: Coverage) -> list[dict[str, Any]]:
    """Lines of `coverage`, a fact a line."""
    head = {"host": value.host, "connected": value.connected, "kernel": value.kernel, "loader": value.loader}
    return [
        {
            **head,
            "fact": each.fact,
            "hook": each.hook,
            "mechanism": each.mechanism,
            "state": each.state,
            "missing": each.missing,
            "dies_with_sensor": each.dies_with_sensor,
        }
        for each in value.facts
    ]
