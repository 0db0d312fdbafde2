"""What became of a response, also where the plane is newer than this command line."""

from __future__ import annotations

import json

import pytest

from rubicon.cli.framework import Verdict
from rubicon.cli.respond.many import Outcome
from rubicon.cli.respond.order import Order
from rubicon.cli.respond.show import show
from rubicon.cli.respond.whom import Whom
from rubicon.client.records.response import Response
from rubicon.v1 import response_pb2

ACTIONS = {
    "kill": response_pb2.ACTION_KILL,
    "freeze": response_pb2.ACTION_FREEZE,
    "isolate": response_pb2.ACTION_ISOLATE,
    "release": response_pb2.ACTION_RELEASE,
}
NEWER = 99


def outcome(action: int, state: int = response_pb2.RESPONSE_STATE_VERIFIED) -> Outcome:
    message = response_pb2.Response(agent_id="aaaa00000001", killed=2, destroyed=3)
    message.action, message.state = action, state  # type: ignore[assignment]
    return Outcome(Whom("rollout", agent="aaaa00000001"), Response.of(message))


@pytest.mark.parametrize(
    ("action", "sentence", "cell"),
    [
        ("kill", "killed 2 processes of agent aaaa00000001", "killed 2 processes"),
        ("freeze", "froze agent aaaa00000001", "frozen"),
        ("isolate", "isolated agent aaaa00000001, 3 connections cut", "isolated, 3 connections cut"),
        ("release", "released agent aaaa00000001", "released"),
    ],
)
def test_what_was_done(capsys: pytest.CaptureFixture[str], action: str, sentence: str, cell: str) -> None:
    found = outcome(ACTIONS[action])
    assert show(Order(action), [found], False, table=False) == Verdict.YES
    assert sentence in capsys.readouterr().out
    assert show(Order(action), [found], False, table=True) == Verdict.YES
    assert cell in capsys.readouterr().out


@pytest.mark.parametrize("table", [False, True])
def test_an_action_and_a_state_of_a_newer_plane_are_shown_as_they_came(
    capsys: pytest.CaptureFixture[str], table: bool
) -> None:
    found = outcome(NEWER, NEWER)
    assert show(Order("freeze"), [found], False, table=table) == Verdict.PARTLY, "nobody knows whether it is done"
    assert "action 99: 99" in capsys.readouterr().out
    assert show(Order("freeze"), [found], True, table=table) == Verdict.PARTLY
    told = json.loads(capsys.readouterr().out)
    assert (told["action"], told["state"]) == ("99", "99")
