"""What policy has done about one agent: an alert asks once, one response serves all alerts that want no more."""

from __future__ import annotations

import hashlib

from controlplane import logs
from controlplane.model import Agent, Alert, KnownAlert, ResponseWanted
from controlplane.policy.rules import WORDS, Policy, reason_of
from rubicon.v1 import response_pb2

_log = logs.get("policy")
_KILL, _FREEZE, _ISOLATE = response_pb2.ACTION_KILL, response_pb2.ACTION_FREEZE, response_pb2.ACTION_ISOLATE


class Answers:
    """Of one agent. Pure: the same alerts in the same order give the same responses, with the same ids."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._stops: dict[int, ResponseWanted] = {}
        """By action, what is in force, on its way or waits its turn."""
        self._waiting: dict[str, str] = {}
        """By response id, why it waits its turn."""
        self._asked: set[str] = set()
        """Ids of all responses so far."""
        self._contained = (False, False)

    def take(self, policy: Policy, alert: Alert, known: KnownAlert | None) -> ResponseWanted | None:
        """Ask policy about an alert that is new or louder, and note in the alert what is done.

        Args:
            known: what the store says of it, when this is a replay: nothing is asked for again.

        Returns:
            A response that is to be carried out.
        """
        if known is not None:
            self._recall(alert, known)
            return None
        verdict = policy.decide(self._agent, alert)
        if verdict is None:
            return None
        if not verdict.enforce:
            if not alert.response_id:
                alert.response = f"none (would {WORDS[verdict.action]})"
                _log.warning(
                    "rule in mode monitor: nothing was done",
                    would=WORDS[verdict.action],
                    rule=verdict.rule,
                    agent=self._agent.id,
                    alert=alert.id,
                    reason=verdict.reason,
                )
            return None
        if self._agent.ended:
            return None
        stop = self._stops.get(verdict.action) or self._stops.get(_KILL)
        wanted = None
        if stop is None:
            parts = f"{WORDS[verdict.action]}\0{alert.id}\0{len(self._asked) + 1}"
            response_id = hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()
            self._asked.add(response_id)
            stop = wanted = self._stops[verdict.action] = ResponseWanted(
                response_id,
                verdict.action,
                self._agent.id,
                alert.id,
                verdict.reason,
                verdict.rule,
                verdict.max_agents_per_minute,
            )
        alert.response, alert.response_id = self._waiting.get(stop.id, WORDS[stop.action]), stop.id
        return wanted

    def _recall(self, alert: Alert, known: KnownAlert) -> None:
        alert.response, alert.response_id = known.response, known.response_id
        if known.response_id:
            self._asked.add(known.response_id)
            if not known.failed:
                self._stops[known.action] = ResponseWanted(
                    known.response_id, known.action, self._agent.id, alert.id, reason_of(alert)
                )

    def waits(self, response_id: str, why: str) -> None:
        """A response waits its turn; `why` is what its alerts say meanwhile, empty once it is its turn."""
        if why:
            self._waiting[response_id] = why
        else:
            self._waiting.pop(response_id, None)

    def said(self, response_id: str) -> str:
        """What alerts say whose response this is; empty for one that is not known."""
        stop = next((each for each in self._stops.values() if each.id == response_id), None)
        return self._waiting.get(response_id, WORDS[stop.action]) if stop else ""

    def failed(self, response_id: str) -> None:
        """A response did not succeed: the next alert that asks for it gets another."""
        self._stops = {action: stop for action, stop in self._stops.items() if stop.id != response_id}

    def dropped(self, response_id: str) -> None:
        """A response that waited its turn is not wanted any more."""
        self.waits(response_id, "")
        self.failed(response_id)

    def kill_failed(self) -> None:
        """Any kill of the agent did not succeed."""
        self._stops.pop(_KILL, None)

    def contained(self, frozen: bool, isolated: bool) -> None:
        """What the sensor has put into force: what was let go can be asked for again."""
        for action, before, now in zip((_FREEZE, _ISOLATE), self._contained, (frozen, isolated), strict=True):
            if before and not now:
                self._stops.pop(action, None)
        self._contained = (frozen, isolated)

    def killed(self, reason: str | None = None) -> None:
        """The agent was killed: it learns why, and for which alert.

        Args:
            reason: of the response that did it; None while only the end is known, which policy's kill explains if
                there is one under way.
        """
        kill = self._stops.get(_KILL)
        if kill is not None and kill.id in self._waiting:
            kill = None
        if reason is None:
            if kill is None or self._agent.reason:
                return
            reason = kill.reason
        self._agent.reason = reason
        self._agent.alert_id = kill.alert_id if kill is not None and kill.reason == reason else ""

    def ended(self) -> list[str]:
        """The agent has ended; returns the ids of responses that waited their turn and never had it."""
        waited, self._waiting = list(self._waiting), {}
        return waited
