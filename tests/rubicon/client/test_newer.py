"""A plane may be newer than the client: values of enumerations that are not known here are shown as they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rubicon.client.records.agent import facts
from rubicon.client.records.alert import Alert
from rubicon.client.records.audit import AuditRecord
from rubicon.client.records.coverage import Coverage
from rubicon.client.records.enum import word
from rubicon.client.records.response import Response
from rubicon.client.records.rule import Rule
from rubicon.v1 import agent_pb2, alert_pb2, audit_pb2, coverage_pb2, policy_pb2, response_pb2

NEWER: Any = 99
FACT = coverage_pb2.CoverageFact(fact="exec", state=NEWER)
CASES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("agent", lambda: facts(agent_pb2.Agent(state=NEWER))["state"]),
    ("alert", lambda: Alert.of(alert_pb2.Alert(severity=NEWER)).severity),
    ("audit", lambda: AuditRecord.of(audit_pb2.AuditRecord(phase=NEWER)).phase),
    ("coverage", lambda: Coverage.of(coverage_pb2.Coverage(facts=[FACT])).facts[0].state),
    ("response", lambda: Response.of(response_pb2.Response(state=NEWER)).state),
    ("action", lambda: Response.of(response_pb2.Response(action=NEWER)).action),
    ("rule", lambda: Rule.of(policy_pb2.Rule(action=NEWER)).action),
)


@pytest.mark.parametrize(("what", "read"), CASES, ids=[what for what, _ in CASES])
def test_a_value_that_is_not_known_is_its_number(what: str, read: Callable[[], str]) -> None:
    assert read() == "99"


def test_what_is_known_is_a_word() -> None:
    assert word(agent_pb2.AgentState, agent_pb2.AGENT_STATE_KILLED) == "killed"
    assert word(response_pb2.ResponseState, 0) == "unspecified"
