"""Hides secrets in what the plane answers.

Stored events keep what the kernel saw; masking happens on the way out, so root can still look (`--show-secrets`). What
counts as a secret: rubicon/v1/secrets.py.
"""

from __future__ import annotations

from rubicon.v1 import agent_pb2, alert_pb2, event_pb2, process_pb2
from rubicon.v1.secrets import argv, headers, text


def process(message: process_pb2.Process) -> process_pb2.Process:
    """Hide secrets in a process, in place."""
    message.argv[:] = argv(message.argv)
    return message


def agent(message: agent_pb2.Agent) -> agent_pb2.Agent:
    """Hide secrets in an agent's command line, in place."""
    message.command[:] = argv(message.command)
    return message


def alert(message: alert_pb2.Alert) -> alert_pb2.Alert:
    """Hide secrets in an alert's processes and evidence, in place."""
    if message.HasField("process"):
        process(message.process)
    for ancestor in message.ancestors:
        process(ancestor)
    for evidence in message.evidence:
        evidence.text = text(evidence.text)
        for name, value in evidence.fields.items():
            evidence.fields[name] = text(value)
    return message


def event(message: event_pb2.Event) -> event_pb2.Event:
    """Hide secrets in an event: the same object when it has none to look for, a changed copy otherwise."""
    kind = message.WhichOneof("kind")
    if kind not in ("exec", "process_snapshot", "enrol", "payload"):
        return message
    out = event_pb2.Event()
    out.CopyFrom(message)
    if kind == "enrol":
        out.enrol.command[:] = argv(out.enrol.command)
    elif kind == "payload":
        data = out.payload.data.decode("latin-1")
        hidden = headers(data)
        if hidden != data:
            out.payload.data = hidden.encode("latin-1")
    else:
        image = out.exec if kind == "exec" else out.process_snapshot.exec
        # Latin-1 maps every byte to one character and back, so bytes that are not UTF-8 come through unchanged.
        image.argv[:] = [a.encode("latin-1") for a in argv([raw.decode("latin-1") for raw in image.argv])]
    return out
