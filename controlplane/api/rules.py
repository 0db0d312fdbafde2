"""PolicyService."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from controlplane.audit.audit import caller
from controlplane.errors import Refused
from controlplane.policy import Rule
from rubicon.v1 import policy_pb2, policy_service_pb2, policy_service_pb2_grpc


class PolicyServicer(policy_service_pb2_grpc.PolicyServiceServicer):
    """The rules in force, and reading them again."""

    def __init__(
        self,
        rules: Callable[[], Sequence[Rule]],
        counts: Callable[[str], tuple[int, int]],
        reload: Callable[[], None],
    ) -> None:
        """
        Args:
            rules: in force now, in order.
            counts: by a rule's name, how many agents wait their turn, and were held back.
            reload: reads the settings file again.
        """
        self._rules = rules
        self._counts = counts
        self._reload = reload

    async def ListRules(  # noqa: N802
        self, request: policy_service_pb2.ListRulesRequest, context: Any
    ) -> policy_service_pb2.ListRulesResponse:
        """Raises: nothing."""
        return policy_service_pb2.ListRulesResponse(rules=map(self._message, self._rules()))

    async def ReloadRules(  # noqa: N802
        self, request: policy_service_pb2.ReloadRulesRequest, context: Any
    ) -> policy_service_pb2.ReloadRulesResponse:
        """Raises: Refused for another than root, whose file it is; SettingsInvalid, and nothing has changed."""
        if caller.get().uid != 0:
            raise Refused("only root may have the rules read again", "use sudo")
        self._reload()
        return policy_service_pb2.ReloadRulesResponse(rules=map(self._message, self._rules()))

    def _message(self, rule: Rule) -> policy_pb2.Rule:
        waiting, held_back = self._counts(rule.name)
        return policy_pb2.Rule(
            name=rule.name,
            detector=rule.detector,
            labels=rule.labels,
            min_severity=rule.min_severity,  # type: ignore[arg-type]
            action=rule.action,  # type: ignore[arg-type]
            enforce=rule.enforce,
            max_agents_per_minute=rule.max_agents_per_minute,
            waiting=waiting,
            held_back=held_back,
        )
