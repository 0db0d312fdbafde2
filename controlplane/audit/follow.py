"""What becomes of a response after its call was answered: one that a restarted plane takes up again, or a kill that left
somebody. Its result is audited when it is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controlplane.audit.audit import Audit
from controlplane.audit.record import Deed
from controlplane.model import is_followed
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import response_pb2

APPLIED, VERIFIED, FAILED = (
    response_pb2.RESPONSE_STATE_APPLIED,
    response_pb2.RESPONSE_STATE_VERIFIED,
    response_pb2.RESPONSE_STATE_FAILED,
)


class Follower:
    """For the event loop's thread."""

    def __init__(self, audit: Audit, store: Store) -> None:
        self._audit = audit
        self._reader = store.audit
        self._expected: dict[str, tuple[str, Deed, int]] = {}
        store.writer.listeners.append(self._published)

    def answered(self, identity: str, deed: Deed, request: int, response: response_pb2.Response) -> None:
        """A call or a rule got this answer: audit it, and go on where it is not the last word."""
        deed = replace(deed, agent_id=response.agent_id, alert_id=response.alert_id, response_id=response.id)
        self._audit.result(identity, deed, request, outcome(response), detail(response))
        if response.state == APPLIED or is_followed(response):
            self._expected[response.id] = (identity, deed, request)

    def resumed(self, responses: Iterable[response_pb2.Response]) -> None:
        """They were under way, or followed, when the plane ended; it goes on with them now. Blocks (some look-ups)."""
        for response in responses:
            deed = deed_of(response)
            request = self._reader.request(response.requested_by, deed.action, deed.agent_id)
            self._expected[response.id] = (response.requested_by, deed, request)

    def _published(self, _: int, write: Write) -> None:
        for response in write.responses:
            if response.id in self._expected and response.state in (VERIFIED, FAILED):
                identity, deed, request = self._expected[response.id]
                self._audit.result(identity, deed, request, outcome(response), detail(response))
                if not is_followed(response):
                    del self._expected[response.id]


def deed_of(response: response_pb2.Response) -> Deed:
    """What a stored response does."""
    target = f"agent {response.agent_id}"
    if response.target.HasField("process"):
        target = f"process {response.target.process.pid} of {target} with its descendants"
    return Deed(word(response), target, response.agent_id, response.reason, response.alert_id, response.id)


def word(response: response_pb2.Response) -> str:
    """kill, freeze, isolate or release."""
    return response_pb2.Action.Name(response.action).removeprefix("ACTION_").lower()


def outcome(response: response_pb2.Response) -> str:
    """Its state, as a word."""
    known = response_pb2.ResponseState.values()
    state = response.state if response.state in known else response_pb2.RESPONSE_STATE_UNSPECIFIED
    return response_pb2.ResponseState.Name(state).removeprefix("RESPONSE_STATE_").lower()


def detail(response: response_pb2.Response) -> str:
    """What is to be known besides."""
    parts = [f"{response.killed} processes killed"] if response.killed else []
    if response.destroyed:
        parts.append(f"{response.destroyed} connections cut")
    if response.HasField("expires_at"):
        parts.append(f"until {response.expires_at.ToJsonString()}")
    parts += [f"{each.id.pid} is left: {each.why}" for each in response.survivors[:20]]
    return "; ".join([*parts, *([response.error] if response.error else [])])
