"""One compact line an event or alert: icon, verb, agent, program, arguments, result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from rubicon.cli.render.output import Line, Part
from rubicon.cli.render.safe import quoted, safe
from rubicon.client.records.alert import Alert
from rubicon.client.records.enum import word
from rubicon.client.records.event import Event, address, endpoint
from rubicon.client.records.process import Process

STYLES = {"info": "cyan", "low": "green", "medium": "yellow", "high": "bold red", "critical": "bold white on red"}
_ICONS = {
    "fork": "⑂", "exec": "▶", "exit": "■", "join": "⇄", "process_snapshot": "▷", "socket": "○", "bind": "⊙",
    "listen": "◉", "connect": "→", "send": "⇢", "establish": "⇌", "close": "✕", "payload": "▤", "packet": "·",
    "unix_connect": "⇥", "unix_send": "⇨", "enrol": "✚", "finish": "✔", "ssh_config": "⚙", "loss": "!", "tamper": "‼",
    "contain": "◼", "tag_pressure": "‼", "probe": "?",
}  # fmt: skip
_STYLES = {
    "exec": "green",
    "connect": "cyan",
    "establish": "cyan",
    "loss": "bold red",
    "tamper": "bold red",
    "tag_pressure": "bold red",
}
_PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp6", 262: "mptcp", 132: "sctp"}


def clock(when: datetime) -> str:
    """Local time of day, to the millisecond."""
    return f"{when.astimezone():%H:%M:%S}.{when.microsecond // 1000:03d}"


def command(argv: Sequence[str]) -> str:
    """A command line as a shell would take it, neutralised."""
    return " ".join(quoted(each) for each in argv)


def program(process: Process | None) -> str:
    """The short name of what a process runs."""
    if process is None:
        return "?"
    path = process.exe or (process.argv[0] if process.argv else "")
    return safe(path.rpartition("/")[2] or path) or "?"


def size(count: int) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def event_line(event: Event, agent: str, name: Callable[[Event], str], icon: Callable[[str], str]) -> Line:
    """An event.

    Args:
        agent: its agent's name.
        name: tells what program the event's process runs.
        icon: the stream's own form of an icon (Output.icon).
    """
    message = event.message
    kind = event.kind or "unknown"
    detail = getattr(message, kind) if event.kind else None
    arguments, result = _WORDS[kind](detail) if kind in _WORDS else ("", "")
    who = "" if kind in ("exec", "process_snapshot") else f"{name(event)} "
    parts: list[Part] = [
        (clock(event.time), "dim"),
        (f" {icon(_ICONS.get(kind, '*'))} ", _STYLES.get(kind, "")),
        (f"{kind:<9} ", _STYLES.get(kind, "")),
        (f"{safe(agent)} ", "magenta"),
        (f"{who}[{event.pid}] " if event.pid else "", "bold"),
        (arguments, ""),
    ]
    if result:
        parts.append((f"  {result}", "dim"))
    return parts


def alert_line(alert: Alert, icon: Callable[[str], str]) -> Line:
    """An alert in one line."""
    style = STYLES.get(alert.severity, "")
    flow = (
        f" {safe(alert.flow.source)} → {safe(alert.flow.destination)}" if alert.flow and alert.flow.destination else ""
    )
    process = alert.process
    result = f" ×{alert.repeats + 1}" if alert.repeats else ""
    if alert.response not in ("", "none"):
        result += f" [{safe(alert.response)}]"
    return [
        (clock(alert.time), "dim"),
        (f" {icon('⚠')} ", style),
        (f"{alert.severity:<8} ", style),
        (f"{safe(alert.agent_name or alert.agent_id)} ", "magenta"),
        (f"{program(process)}[{process.pid if process else '?'}] ", "bold"),
        (safe(alert.title), ""),
        (flow if icon("→") == "→" else flow.replace("→", "->"), "cyan"),
        (result, style),
    ]


def alert_block(alert: Alert, icon: Callable[[str], str]) -> list[Line]:
    """An alert with what supports it."""
    lines: list[Line] = [alert_line(alert, icon)]
    if alert.process:
        lines.append([("    command   ", "dim"), (command(alert.process.argv), "")])
        lines.append([("    program   ", "dim"), (f"{safe(alert.process.exe)}  in {safe(alert.process.cwd)}", "")])
    if alert.ancestors:
        chain = " < ".join(f"{program(each)}[{each.pid}]" for each in alert.ancestors)
        lines.append([("    under     ", "dim"), (chain, "")])
    lines += [[(f"    {safe(each.kind):<9} ", "dim"), (safe(each.text), "")] for each in alert.evidence]
    if alert.coverage:
        facts = ", ".join(safe(each.partition(":")[0]) for each in alert.coverage)
        lines.append([("    not whole ", "dim"), (f"{facts} (rubicon coverage says why)", "dim")])
    what = f"{safe(alert.detector)}  {' '.join(safe(each) for each in alert.techniques)}  id {safe(alert.id)}"
    lines.append([("    detector  ", "dim"), (what, "dim")])
    return lines


def _flow(flow: Any) -> str:
    return _PROTOCOLS.get(flow.protocol, f"protocol {flow.protocol}" if flow.protocol else "")


def _refused(detail: Any) -> str:
    return "refused" if detail.refused else ""


def _exec(detail: Any) -> tuple[str, str]:
    argv = [raw.decode("utf-8", "surrogateescape") for raw in detail.argv]
    marks = [mark for mark in ("memfd", "deleted") if getattr(detail, mark)]
    if detail.argv_truncated:
        marks.append(f"cut, {detail.argv_length} bytes")
    if argv and argv[0].rpartition("/")[2] != detail.exe.rpartition("/")[2]:
        marks.append(f"= {safe(detail.exe)}")
    return command(argv) or safe(detail.exe), ", ".join(marks)


def _exit(detail: Any) -> tuple[str, str]:
    if detail.signal:
        return "", f"signal {detail.signal}" + (", core dumped" if detail.core_dumped else "")
    return "", f"status {detail.status}"


def _close(detail: Any) -> tuple[str, str]:
    flow = detail.flow
    reason = {1: "", 2: "refused, ", 3: "reset, "}.get(detail.reason, "")
    amounts = f"{size(detail.bytes_sent)} out, {size(detail.bytes_received)} in, {detail.duration_ns / 1e9:.2f} s"
    return endpoint(flow.destination, flow.destination_port), reason + amounts


def _payload(detail: Any) -> tuple[str, str]:
    shown = safe(detail.data[:60].decode("latin-1"))
    return f"{'out' if detail.outbound else 'in'} {shown}", f"{detail.length} bytes"


def _to(detail: Any) -> tuple[str, str]:
    flow = detail.flow
    where = endpoint(flow.destination, flow.destination_port)
    return f"{_flow(flow)} {where}".strip(), _refused(detail)


def _local(detail: Any) -> tuple[str, str]:
    flow = detail.flow
    return f"{_flow(flow)} {endpoint(flow.source, flow.source_port)}".strip(), ""


def _establish(detail: Any) -> tuple[str, str]:
    flow = detail.flow
    way = {1: "to", 2: "from"}.get(flow.direction, "with")
    return f"{way} {endpoint(flow.destination, flow.destination_port)}", f"local port {flow.source_port}"


def _join(detail: Any) -> tuple[str, str]:
    from rubicon.v1 import event_pb2

    reason = word(event_pb2.JoinReason, detail.reason)
    return f"pid {detail.target.pid} to {safe(detail.cgroup_path) or detail.cgroup_id}", reason


def _unix(detail: Any) -> tuple[str, str]:
    peer = f"to {safe(detail.peer_comm)} (pid {detail.peer.pid})" if detail.peer.pid else ""
    return safe(detail.path), " ".join(word for word in (peer, _refused(detail)) if word)


def _contain(detail: Any) -> tuple[str, str]:
    now = [word for word in ("frozen", "isolated") if getattr(detail, word)]
    by = f"by {safe(detail.requested_by)}" if detail.requested_by else "its time is over"
    otherwise = "killed" if detail.action == 1 else "released"  # ACTION_KILL; the wire is not loaded here
    return ", ".join(now) or otherwise, f"{by}: {safe(detail.reason)}" if detail.reason else by


def _loss(detail: Any) -> tuple[str, str]:
    from rubicon.v1 import event_pb2

    kind = word(event_pb2.EventClass, detail.event_class)
    reason = word(event_pb2.LossReason, detail.reason)
    return f"{detail.count} {kind} records", reason.replace("_", " ")


_WORDS: dict[str, Callable[[Any], tuple[str, str]]] = {
    "fork": lambda d: (f"pid {d.child.pid}", ""),
    "exec": _exec,
    "exit": _exit,
    "join": _join,
    "process_snapshot": lambda d: _exec(d.exec),
    "socket": lambda d: (f"{_flow(d.flow) or f'family {d.flow.family}'}", _refused(d)),
    "bind": lambda d: (_local(d)[0], _refused(d)),
    "listen": _local,
    "connect": _to,
    "send": _to,
    "establish": _establish,
    "close": _close,
    "payload": _payload,
    "packet": lambda d: (
        f"{'out' if d.outbound else 'in'} {address(d.flow.destination)}:{d.flow.destination_port}",
        f"{d.length} bytes",
    ),
    "unix_connect": _unix,
    "unix_send": lambda d: (safe(d.path), _refused(d)),
    "enrol": lambda d: (f"{safe(d.name)} {command(d.command)}".strip(), f"by {safe(d.enrolled_by)}"),
    "finish": lambda d: ("", safe(d.reason)),
    "ssh_config": lambda d: (
        f"{safe(d.host)} {' '.join(safe(each) for each in d.remote_forwards)}".strip(),
        safe(d.error) or ("may match" if d.may_match else ""),
    ),
    "contain": _contain,
    "loss": _loss,
    "tamper": lambda d: (safe(d.action), safe(d.detail)),
    "tag_pressure": lambda d: (f"{d.processes} processes", f"{d.tags} of {d.high_water} tags: condemned"),
    "probe": lambda d: ("", ""),
}
