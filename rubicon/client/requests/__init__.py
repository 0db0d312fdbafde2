"""What the client asks, once for sync and asyncio: a function a call, saying what to send and how to read the answer.

Nothing here does I/O. A transport (sync.py, aio.py) sends a Call and returns `call.read(answer)`.
"""

from __future__ import annotations

from rubicon.client.requests.agents import create_agent, enrol_agent, finish_agent, get_agent, get_tree, list_agents
from rubicon.client.requests.alerts import get_alert, list_alerts, watch_alerts
from rubicon.client.requests.audit import ExportStream, get_audit, list_audit, verify_audit
from rubicon.client.requests.call import Call
from rubicon.client.requests.coverage import list_coverage, probe_pipeline
from rubicon.client.requests.events import stream_events
from rubicon.client.requests.responses import (
    agent_target,
    freeze,
    isolate,
    kill,
    list_responses,
    process_target,
    release,
    watch_responses,
)
from rubicon.client.requests.rules import list_rules, reload_rules

__all__ = [
    "Call",
    "ExportStream",
    "agent_target",
    "create_agent",
    "enrol_agent",
    "finish_agent",
    "freeze",
    "get_agent",
    "get_alert",
    "get_audit",
    "get_tree",
    "isolate",
    "kill",
    "list_agents",
    "list_alerts",
    "list_audit",
    "list_coverage",
    "list_responses",
    "list_rules",
    "probe_pipeline",
    "process_target",
    "release",
    "reload_rules",
    "stream_events",
    "verify_audit",
    "watch_alerts",
    "watch_responses",
]
