"""What the client asks, once for sync and asyncio: a function a call, saying what to send and how to read the answer.

Nothing here does I/O. A transport (sync.py, aio.py) sends a Call and returns `call.read(answer)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from rubicon.client.errors import InvalidArgument
from rubicon.client.records.alert import SEVERITIES, Alert
from rubicon.client.records.coverage import Coverage
from rubicon.client.records.ended import Ended
from rubicon.client.records.event import Event
from rubicon.client.records.moment import stamp
from rubicon.client.records.process import Process
from rubicon.client.records.response import Response
from rubicon.client.records.rule import Rule
from rubicon.v1 import (
    agent_pb2,
    agent_service_pb2,
    alert_pb2,
    alert_service_pb2,
    coverage_service_pb2,
    event_service_pb2,
    policy_service_pb2,
    process_pb2,
    response_pb2,
    response_service_pb2,
)

T = TypeVar("T")
M = TypeVar("M", bound=Message)
PAGE = 500
"""Entities in one page of a listing."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call: `service` and `method` as in proto/, and how to read an answer."""

    service: str
    method: str
    request: Message
    read: Callable[[Any], T]
    timeout: float | None = 30.0
    """Seconds; None for streams."""
    next_page: Callable[[Any], str] | None = None
    """For listings: the token in an answer that asks for the next page."""

    @property
    def path(self) -> str:
        """The method's name on the wire."""
        return f"/rubicon.v1.{self.service}/{self.method}"

    @property
    def answer(self) -> type[Message]:
        """The class of the answer."""
        file: Any = self.request.DESCRIPTOR.file
        return GetMessageClass(file.message_types_by_name[f"{self.method}Response"])

    def page(self, token: str) -> Call[T]:
        """The same listing from a later page on."""
        request = type(self.request)()
        request.CopyFrom(self.request)
        request.page_token = token  # type: ignore[attr-defined]
        return Call(self.service, self.method, request, self.read, self.timeout, self.next_page)


def _message(kind: Callable[..., M], **fields: Any) -> M:
    """A message of these fields.

    Raises:
        InvalidArgument: a value that the wire cannot carry: a number that is too large, text that is not UTF-8.
    """
    try:
        return kind(**fields)
    except (TypeError, ValueError):
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except UnicodeEncodeError:
                raise InvalidArgument(f"{name} {value!r}: use text that UTF-8 can carry") from None
            except (TypeError, ValueError) as error:
                raise InvalidArgument(f"{name} {value!r}: {error}") from None
        raise


def _token(answer: Any) -> str:
    return str(answer.next_page_token)


def _agent(answer: Any) -> agent_pb2.Agent:
    found: agent_pb2.Agent = answer.agent
    return found


def create_agent(name: str, labels: Mapping[str, str], on_alert: str) -> Call[agent_pb2.Agent]:
    """A pending agent."""
    request = _message(agent_service_pb2.CreateAgentRequest, name=name, labels=labels, on_alert=on_alert)
    return Call("AgentService", "CreateAgent", request, _agent)


def enrol_agent(agent: str, pid: int | None, start_time: int, cgroup: str | None, host: str) -> Call[agent_pb2.Agent]:
    """Enrol a process with its descendants, or a cgroup.

    Raises:
        InvalidArgument: neither or both are given.
    """
    if (pid is None) == (cgroup is None):
        raise InvalidArgument("enrol: give either pid or cgroup")
    request = _message(agent_service_pb2.EnrolAgentRequest, agent=agent, host=host)
    if pid is not None:
        request.process.CopyFrom(_message(process_pb2.ProcessKey, pid=pid, start_time_ns=start_time))
    else:
        request.MergeFrom(_message(agent_service_pb2.EnrolAgentRequest, cgroup_path=cgroup))
    return Call("AgentService", "EnrolAgent", request, _agent, timeout=60)


def get_agent(agent: str) -> Call[agent_pb2.Agent]:
    """One agent by id, id prefix or name."""
    return Call("AgentService", "GetAgent", _message(agent_service_pb2.GetAgentRequest, agent=agent), _agent)


def list_agents(everyone: bool, labels: Mapping[str, str]) -> Call[list[agent_pb2.Agent]]:
    """A page of agents, newest first."""
    request = _message(agent_service_pb2.ListAgentsRequest, all=everyone, labels=labels, page_size=PAGE)
    return Call("AgentService", "ListAgents", request, lambda answer: list(answer.agents), next_page=_token)


def finish_agent(agent: str, detach: bool) -> Call[agent_pb2.Agent]:
    """End the watch."""
    request = _message(agent_service_pb2.FinishAgentRequest, agent=agent, detach=detach)
    return Call("AgentService", "FinishAgent", request, _agent, timeout=60)


def get_tree(agent: str, everyone: bool, show_secrets: bool) -> Call[tuple[agent_pb2.Agent, list[Process]]]:
    """An agent with its processes, parents before children."""
    request = _message(agent_service_pb2.GetAgentTreeRequest, agent=agent, all=everyone, show_secrets=show_secrets)
    return Call(
        "AgentService", "GetAgentTree", request, lambda answer: (answer.agent, [*map(Process.of, answer.processes)])
    )


def list_alerts(agent: str, min_severity: str, since: datetime | None, show_secrets: bool) -> Call[list[Alert]]:
    """A page of alerts, newest first."""
    request = _message(
        alert_service_pb2.ListAlertsRequest,
        agent=agent,
        min_severity=_severity(min_severity),
        since=stamp(since),
        page_size=PAGE,
        show_secrets=show_secrets,
    )
    return Call("AlertService", "ListAlerts", request, lambda answer: [*map(Alert.of, answer.alerts)], next_page=_token)


def get_alert(alert_id: str, show_secrets: bool) -> Call[Alert]:
    """One alert."""
    request = _message(alert_service_pb2.GetAlertRequest, id=alert_id, show_secrets=show_secrets)
    return Call("AlertService", "GetAlert", request, lambda answer: Alert.of(answer.alert))


def watch_alerts(agent: str, min_severity: str, existing: bool, show_secrets: bool) -> Call[Alert | Ended | None]:
    """Alerts as they happen; the first answer is None and says that the watch stands, Ended that its agent is over."""
    request = _message(
        alert_service_pb2.WatchAlertsRequest,
        agent=agent,
        min_severity=_severity(min_severity),
        include_existing=existing,
        show_secrets=show_secrets,
    )

    def read(answer: alert_service_pb2.WatchAlertsResponse) -> Alert | Ended | None:
        if answer.HasField("ended"):
            return Ended(answer.ended)
        return Alert.of(answer.alert) if answer.HasField("alert") else None

    return Call("AlertService", "WatchAlerts", request, read, timeout=None)


def stream_events(
    agent: str,
    kinds: Iterable[str],
    pid: int,
    since: datetime | None,
    until: datetime | None,
    cursor: str,
    follow: bool,
    show_secrets: bool,
) -> Call[list[Event] | Ended]:
    """Events in the order in which they were stored; Ended when the agent that is followed is over."""
    request = _message(
        event_service_pb2.StreamEventsRequest,
        agent=agent,
        kinds=kinds,
        pid=pid,
        since=stamp(since),
        until=stamp(until),
        cursor=cursor,
        follow=follow,
        show_secrets=show_secrets,
    )

    def read(answer: event_service_pb2.StreamEventsResponse) -> list[Event] | Ended:
        return Ended(answer.ended) if answer.HasField("ended") else [*map(Event.of, answer.events)]

    return Call("EventService", "StreamEvents", request, read, timeout=None)


def agent_target(agent: str) -> response_pb2.Target:
    """A whole agent, by id or name."""
    return _message(response_pb2.Target, agent=agent)


def process_target(pid: int, start_time: int, host: str, boot_id: str) -> response_pb2.Target:
    """A process with its descendants; start time 0 for the living process of that pid."""
    process = _message(process_pb2.ProcessId, host=host, boot_id=boot_id, pid=pid, start_time_ns=start_time)
    return _message(response_pb2.Target, process=process)


def kill(target: response_pb2.Target, reason: str, force: bool, dry_run: bool = False) -> Call[Response]:
    """Kill a target; the answer comes when it is verified or has failed."""
    return _respond(
        "Kill", response_service_pb2.KillRequest, target=target, reason=reason, force=force, dry_run=dry_run
    )


def freeze(
    target: response_pb2.Target, reason: str, force: bool, ttl: float | None = None, dry_run: bool = False
) -> Call[Response]:
    """Freeze a target until it is released or `ttl` seconds are over."""
    return _respond(
        "Freeze",
        response_service_pb2.FreezeRequest,
        target=target,
        reason=reason,
        force=force,
        ttl=_duration(ttl),
        dry_run=dry_run,
    )


def isolate(
    target: response_pb2.Target,
    reason: str,
    force: bool,
    ttl: float | None = None,
    dry_run: bool = False,
    *,
    allow: Iterable[str] = (),
    allow_loopback: bool = False,
    unix: bool = False,
    strict: bool = False,
) -> Call[Response]:
    """Take the network from an agent until it is released or `ttl` seconds are over."""
    isolation = _message(
        response_pb2.Isolation, allow=list(allow), allow_loopback=allow_loopback, unix=unix, strict=strict
    )
    return _respond(
        "Isolate",
        response_service_pb2.IsolateRequest,
        target=target,
        reason=reason,
        force=force,
        ttl=_duration(ttl),
        isolation=isolation,
        dry_run=dry_run,
    )


def release(target: response_pb2.Target, reason: str, dry_run: bool = False) -> Call[Response]:
    """Undo freeze and isolate."""
    return _respond("Release", response_service_pb2.ReleaseRequest, target=target, reason=reason, dry_run=dry_run)


def _respond(method: str, kind: Callable[..., M], **fields: Any) -> Call[Response]:
    request = _message(kind, **fields)
    return Call("ResponseService", method, request, lambda answer: Response.of(answer.response), timeout=60)


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    if not -1e9 < seconds < 1e9:
        raise InvalidArgument(f"ttl {seconds!r}: use seconds above zero, at most 366 days")
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def list_responses(agent: str) -> Call[list[Response]]:
    """A page of responses, newest first."""
    request = _message(response_service_pb2.ListResponsesRequest, agent=agent, page_size=PAGE)
    return Call(
        "ResponseService",
        "ListResponses",
        request,
        lambda answer: [*map(Response.of, answer.responses)],
        next_page=_token,
    )


def list_rules() -> Call[list[Rule]]:
    """The rules in force."""
    request = policy_service_pb2.ListRulesRequest()
    return Call("PolicyService", "ListRules", request, lambda answer: [*map(Rule.of, answer.rules)])


def reload_rules() -> Call[list[Rule]]:
    """Read the settings file again."""
    request = policy_service_pb2.ReloadRulesRequest()
    return Call("PolicyService", "ReloadRules", request, lambda answer: [*map(Rule.of, answer.rules)])


def list_coverage(host: str) -> Call[list[Coverage]]:
    """What the hosts see."""
    request = _message(coverage_service_pb2.ListCoverageRequest, host=host)
    return Call("CoverageService", "ListCoverage", request, lambda answer: [*map(Coverage.of, answer.coverage)])


def probe_pipeline(host: str) -> Call[float]:
    """Seconds that a synthetic event took from the command to the store."""
    request = _message(coverage_service_pb2.ProbePipelineRequest, host=host)

    def read(answer: coverage_service_pb2.ProbePipelineResponse) -> float:
        return answer.elapsed.seconds + answer.elapsed.nanos / 1e9

    return Call("CoverageService", "ProbePipeline", request, read, timeout=45)


def _severity(name: str) -> alert_pb2.Severity.ValueType:
    if not name:
        return alert_pb2.SEVERITY_UNSPECIFIED
    if name not in SEVERITIES:
        raise InvalidArgument(f"severity {name!r}: use one of {', '.join(SEVERITIES)}")
    return alert_pb2.Severity.Value(f"SEVERITY_{name.upper()}")
