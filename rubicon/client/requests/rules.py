"""The rules of automatic response."""

from __future__ import annotations

from rubicon.client.records.rule import Rule
from rubicon.client.requests.call import Call
from rubicon.v1 import policy_service_pb2


def list_rules() -> Call[list[Rule]]:
    """The rules in force."""
    request = policy_service_pb2.ListRulesRequest()
    return Call("PolicyService", "ListRules", request, lambda answer: [*map(Rule.of, answer.rules)])


def reload_rules() -> Call[list[Rule]]:
    """Read the settings file again."""
    request = policy_service_pb2.ReloadRulesRequest()
    return Call("PolicyService", "ReloadRules", request, lambda answer: [*map(Rule.of, answer.rules)])
