"""Reads entities: agents, processes, flows, alerts, responses, hosts. Pages are (time, id) keys, newest first."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Connection, Engine, Select, Table, func, select, tuple_
from sqlalchemy.exc import DBAPIError

from controlplane.model import KnownAlert, is_followed, rule_of
from controlplane.store import schema
from controlplane.store.convert import nanoseconds
from controlplane.store.engine import unavailable
from rubicon.v1 import agent_pb2, alert_pb2, coverage_pb2, flow_pb2, process_pb2, response_pb2

T = TypeVar("T")
M = TypeVar("M", bound=Message)
LIVING = (agent_pb2.AGENT_STATE_PENDING, agent_pb2.AGENT_STATE_RUNNING)
_OPEN = (response_pb2.RESPONSE_STATE_REQUESTED, response_pb2.RESPONSE_STATE_APPLIED)
PageKey = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Boot:
    """A boot of a host: its small number, clock offset in ns, highest durable batch, last coverage that it told."""

    id: int
    host: str
    boot_id: str
    clock_offset_ns: int
    acknowledged: int
    coverage: coverage_pb2.Coverage


class EntityReader:
    """Blocking; call it in a thread.

    Raises, from every method:
        StoreUnavailable: the database cannot be read.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def boots(self) -> list[Boot]:
        """Every boot known, oldest first."""
        columns = schema.boots.c
        rows = self._all(select(schema.boots).order_by(columns.id))
        return [
            Boot(
                r.id, r.host, r.boot_id, r.clock_offset_ns, r.acknowledged, coverage_pb2.Coverage.FromString(r.coverage)
            )
            for r in rows
        ]

    def seen(self) -> list[tuple[int, int, int, bytes]]:
        """(boot, epoch, CPU, state) of all record sequences."""
        return [(r.boot, r.epoch, r.cpu, bytes(r.state)) for r in self._all(select(schema.seen))]

    def agent(self, text: str) -> agent_pb2.Agent | None:
        """By id, then by name (the living before the newest dead), then by an id prefix that only one has (≥ 4
        digits).
        """
        table = schema.agents
        by_id = self._bodies(agent_pb2.Agent, select(table.c.body).where(table.c.id == text))
        if by_id:
            return by_id[0]
        named = select(table.c.body).where(table.c.name == text)
        living_first = table.c.state.in_(LIVING).desc()
        by_name = self._bodies(agent_pb2.Agent, named.order_by(living_first, table.c.started_ns.desc()).limit(1))
        if by_name:
            return by_name[0]
        if len(text) < 4 or set(text) - set("0123456789abcdef"):
            return None
        prefixed = select(table.c.body).where(table.c.id >= text, table.c.id < text + "g").limit(2)
        found = self._bodies(agent_pb2.Agent, prefixed)
        return found[0] if len(found) == 1 else None

    def agents(
        self,
        *,
        all_: bool,
        labels: dict[str, str] | None = None,
        after: PageKey | None = None,
        limit: int = 100,
    ) -> list[agent_pb2.Agent]:
        """Newest first; with `labels`, those that carry all of them."""
        found: list[agent_pb2.Agent] = []
        table = schema.agents
        while len(found) < limit:
            statement = _newest(table, table.c.started_ns, after, limit)
            if not all_:
                statement = statement.where(table.c.state.in_(LIVING))
            rows = self._all(statement)
            for row in rows:
                agent = agent_pb2.Agent.FromString(row.body)
                if all(agent.labels.get(key) == value for key, value in (labels or {}).items()):
                    found.append(agent)
            if len(rows) < limit:
                break
            after = (rows[-1].time, rows[-1].id)
        return found[:limit]

    def living_agents(self) -> list[tuple[int, agent_pb2.Agent]]:
        """(boot number or 0, agent) of all that have not ended."""
        table = schema.agents
        rows = self._all(select(table.c.boot, table.c.body).where(table.c.state.in_(LIVING)))
        return [(row.boot or 0, agent_pb2.Agent.FromString(row.body)) for row in rows]

    def unfinished_agents(self, within_ns: int) -> list[tuple[int, agent_pb2.Agent]]:
        """(boot number, agent) of those that ended so shortly before their host was last heard of, or later, with processes of
        which no end is stored: a kill was verified, and the records of it had not come."""
        table, boots, processes = schema.agents, schema.boots, schema.processes
        open_ = select(processes.c.pid).where(processes.c.agent_id == table.c.id, processes.c.ended_ns.is_(None))
        found = (
            select(table.c.boot, table.c.body)
            .join(boots, boots.c.id == table.c.boot)
            .where(table.c.state.not_in(LIVING), table.c.ended_ns >= boots.c.last_seen_ns - within_ns, open_.exists())
        )
        return [(row.boot, agent_pb2.Agent.FromString(row.body)) for row in self._all(found)]

    def ended_agents(self, most: int) -> list[tuple[int, str]]:
        """(boot number, id) of those that have ended, the newest `most`, oldest first."""
        columns = schema.agents.c
        found = select(columns.boot, columns.id).where(columns.state.not_in(LIVING), columns.boot.is_not(None))
        rows = self._all(found.order_by(columns.ended_ns.desc(), columns.id).limit(most))
        return [(row.boot, row.id) for row in reversed(rows)]

    def processes(self, agent_id: str, *, all_: bool) -> list[process_pb2.Process]:
        """An agent's processes, oldest first."""
        columns = schema.processes.c
        wanted = [columns.agent_id == agent_id]
        if not all_:
            wanted.append(columns.ended_ns.is_(None))
        return self._processes(*wanted)

    def process(self, boot: int, pid: int, start_time_ns: int) -> process_pb2.Process | None:
        """One process."""
        columns = schema.processes.c
        found = self._processes(columns.boot == boot, columns.pid == pid, columns.start_time_ns == start_time_ns)
        return found[0] if found else None

    def processes_of_pid(self, pid: int) -> list[process_pb2.Process]:
        """All that ever had this pid, on every boot."""
        columns = schema.processes.c
        return self._processes(columns.boot.in_(select(schema.boots.c.id)), columns.pid == pid)

    def _processes(self, *wanted: ColumnElement[bool]) -> list[process_pb2.Process]:
        processes, boots = schema.processes.c, schema.boots.c
        statement = (
            select(
                boots.host, boots.boot_id, processes.pid, processes.start_time_ns, processes.agent_id, processes.body
            )
            .join_from(schema.processes, schema.boots, processes.boot == boots.id)
            .where(*wanted)
            .order_by(processes.started_ns, processes.start_time_ns)
        )
        found = []
        for row in self._all(statement):
            process = process_pb2.Process.FromString(row.body)
            process.agent_id = row.agent_id
            identity = process.id
            identity.host, identity.boot_id = row.host, row.boot_id
            identity.pid, identity.start_time_ns = row.pid, row.start_time_ns
            found.append(process)
        return found

    def flows(self, agent_id: str, *, open_only: bool = False) -> list[flow_pb2.Flow]:
        """An agent's flows, oldest first."""
        columns = schema.flows.c
        statement = select(columns.body).where(columns.agent_id == agent_id).order_by(columns.opened_ns)
        return self._bodies(flow_pb2.Flow, statement.where(columns.closed_ns.is_(None)) if open_only else statement)

    def alerts(
        self,
        *,
        agents: Collection[str] = (),
        min_severity: int = 0,
        since_ns: int = 0,
        after: PageKey | None = None,
        limit: int = 100,
    ) -> list[alert_pb2.Alert]:
        """Newest first."""
        columns = schema.alerts.c
        statement = _newest(schema.alerts, columns.time_ns, after, limit)
        wanted: list[ColumnElement[bool]] = []
        if agents:
            wanted.append(columns.agent_id.in_(list(agents)))
        if min_severity:
            wanted.append(columns.severity >= min_severity)
        if since_ns:
            wanted.append(columns.time_ns >= since_ns)
        return [alert_pb2.Alert.FromString(row.body) for row in self._all(statement.where(*wanted))]

    def settled_alerts(self, agents: Collection[str]) -> dict[str, KnownAlert]:
        """By id, the alerts of these agents whose response, if any was wanted, has begun."""
        alerts, responses = schema.alerts.c, schema.responses.c
        stored = select(responses.body).where(responses.agent_id.in_(list(agents)))
        begun = {response.id: response for response in self._bodies(response_pb2.Response, stored)}
        bodies = self._bodies(alert_pb2.Alert, select(alerts.body).where(alerts.agent_id.in_(list(agents))))
        known = {}
        for alert in bodies:
            response = begun.get(alert.response_id, response_pb2.Response())
            if not alert.response_id or response.id:
                failed = response.state == response_pb2.RESPONSE_STATE_FAILED
                known[alert.id] = KnownAlert(alert.response_id, failed, alert.response, response.action)
        return known

    def alert(self, alert_id: str) -> alert_pb2.Alert | None:
        """One alert."""
        columns = schema.alerts.c
        found = self._bodies(alert_pb2.Alert, select(columns.body).where(columns.id == alert_id))
        return found[0] if found else None

    def responses(
        self, *, agent_id: str = "", after: PageKey | None = None, limit: int = 100
    ) -> list[response_pb2.Response]:
        """Newest first."""
        columns = schema.responses.c
        statement = _newest(schema.responses, columns.requested_ns, after, limit)
        if agent_id:
            statement = statement.where(columns.agent_id == agent_id)
        return [response_pb2.Response.FromString(row.body) for row in self._all(statement)]

    def open_responses(self) -> list[response_pb2.Response]:
        """Those that were asked for and are neither verified nor failed, oldest first."""
        columns = schema.responses.c
        statement = select(columns.body).where(columns.state.in_(_OPEN)).order_by(columns.requested_ns)
        return self._bodies(response_pb2.Response, statement)

    def followed_responses(self) -> list[response_pb2.Response]:
        """Kills that left somebody and are not verified yet, oldest first."""
        columns = schema.responses.c
        failed = select(columns.body).where(columns.state == response_pb2.RESPONSE_STATE_FAILED)
        found = failed.order_by(columns.requested_ns)
        return [each for each in self._bodies(response_pb2.Response, found) if is_followed(each)]

    def stopped_since(self, since_ns: int) -> list[tuple[str, str, int]]:
        """(rule, agent id, when asked for) of responses that rules of the settings file wanted, oldest first."""
        columns = schema.responses.c
        statement = select(columns.body).where(columns.requested_ns >= since_ns).order_by(columns.requested_ns)
        found = self._bodies(response_pb2.Response, statement)
        ruled = [(rule_of(response.requested_by), response) for response in found]
        return [(rule, each.agent_id, nanoseconds(each.requested_at)) for rule, each in ruled if rule]

    def response(self, response_id: str) -> response_pb2.Response | None:
        """One response."""
        columns = schema.responses.c
        found = self._bodies(response_pb2.Response, select(columns.body).where(columns.id == response_id))
        return found[0] if found else None

    def count(self, table: Table) -> int:
        """How many rows a table has."""
        return int(self._run(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one()))

    def _bodies(self, kind: type[M], statement: Select[Any]) -> list[M]:
        bodies = self._run(lambda connection: list(connection.execute(statement).scalars()))
        return [kind.FromString(body) for body in bodies]

    def _all(self, statement: Select[Any]) -> list[Any]:
        return self._run(lambda connection: list(connection.execute(statement).all()))

    def _run(self, read: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return read(connection)
        except DBAPIError as error:
            raise unavailable(error) from error


def _newest(table: Table, time: ColumnElement[int], after: PageKey | None, limit: int) -> Select[Any]:
    statement = (
        select(time.label("time"), table.c.id, table.c.body).order_by(time.desc(), table.c.id.desc()).limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(time, table.c.id) < tuple_(*after))
    return statement
