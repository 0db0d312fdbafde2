"""What policy has done about one agent: once, no less than was asked for, and the same after a replay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from controlplane.model import Agent, Alert, KnownAlert, ResponseWanted
from controlplane.policy import Answers, Policy, Rule
from rubicon.v1 import agent_pb2, alert_pb2, response_pb2
from tests.controlplane.builders import AGENT, HOST

KILL, FREEZE, ISOLATE = response_pb2.ACTION_KILL, response_pb2.ACTION_FREEZE, response_pb2.ACTION_ISOLATE
HIGH, MEDIUM = alert_pb2.SEVERITY_HIGH, alert_pb2.SEVERITY_MEDIUM
POLICY = Policy([Rule(ISOLATE, "i"), Rule(FREEZE, "f"), Rule(KILL, "k"), Rule(KILL, "m", enforce=False)])


def alert(detector: str, number: int = 0, severity: int = HIGH) -> Alert:
    return Alert(f"{detector}{number}", HOST.boot, 1, 1, AGENT, "a", detector, "Title", severity, (), None)


def answers(**facts: object) -> Answers:
    return Answers(Agent(AGENT, "a", HOST.boot, **facts))  # type: ignore[arg-type]


def take(held: Answers, one: Alert) -> ResponseWanted | None:
    return held.take(POLICY, one, None)


def test_one_response_serves_all_alerts_that_want_no_more() -> None:
    held = answers()
    isolate = take(held, alert("i"))
    assert isolate is not None
    assert (isolate.action, isolate.rule, isolate.by, isolate.reason) == (
        ISOLATE,
        "i: isolate",
        "policy (i: isolate)",
        "i: Title (high)",
    )
    again = alert("i", 1)
    assert take(held, again) is None
    assert (again.response, again.response_id) == ("isolate", isolate.id)
    freeze, kill = take(held, alert("f")), take(held, alert("k"))
    assert freeze is not None
    assert kill is not None
    assert len({isolate.id, freeze.id, kill.id}) == 3
    less = alert("f", 2)
    assert take(held, less) is None
    assert less.response_id == freeze.id
    after = answers()
    assert take(after, alert("k")) is not None
    covered = alert("i")
    assert take(after, covered) is None
    assert covered.response == "kill"


def test_monitor_says_what_it_would_have_done_and_takes_nothing_back() -> None:
    held = answers()
    with capture_logs() as lines:
        said = alert("m")
        assert take(held, said) is None
    assert (said.response, said.response_id) == ("none (would kill)", "")
    (line,) = lines
    assert (line["would"], line["rule"], line["agent"], line["alert"]) == ("kill", "m: kill", AGENT, "m0")
    policy = Policy([Rule(KILL, "x", min_severity=HIGH, enforce=False), Rule(ISOLATE, "x", min_severity=MEDIUM)])
    louder = alert("x", severity=MEDIUM)
    assert held.take(policy, louder, None) is not None
    louder.severity = HIGH
    assert held.take(policy, louder, None) is None
    assert louder.response == "isolate"


def test_the_agents_own_on_alert_comes_first_and_has_no_limit() -> None:
    wanted = answers(on_alert="kill").take(Policy([Rule(FREEZE)]), alert("f"), None)
    assert wanted is not None
    assert (wanted.action, wanted.rule, wanted.by, wanted.max_agents_per_minute) == (KILL, "", "policy", 0)


def test_what_was_let_go_is_asked_for_again_by_the_next_alert() -> None:
    held = answers()
    first = take(held, alert("f"))
    held.contained(False, False)
    assert take(held, alert("f", 1)) is None, "not yet in force"
    held.contained(True, True)
    held.contained(True, False)
    assert take(held, alert("f", 2)) is None
    held.contained(False, False)
    second = take(held, alert("f", 3))
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_what_failed_is_asked_for_again() -> None:
    held = answers()
    for number in range(3):
        wanted = take(held, alert("i", number))
        assert wanted is not None
        held.failed(wanted.id)
    assert take(held, alert("k")) is not None
    held.kill_failed()
    assert take(held, alert("k")) is not None


def test_what_waits_is_said_and_explains_no_death() -> None:
    agent = Agent(AGENT, "a", HOST.boot)
    held = Answers(agent)
    wanted = take(held, alert("k"))
    assert wanted is not None
    held.waits(wanted.id, "kill held back")
    later = alert("k", 1)
    take(held, later)
    assert later.response == held.said(wanted.id) == "kill held back"
    held.killed()
    assert (agent.reason, agent.alert_id) == ("", "")
    held.waits(wanted.id, "")
    assert held.said(wanted.id) == "kill"
    assert held.ended() == []
    held.waits(wanted.id, "kill held back")
    assert held.ended() == [wanted.id]
    assert held.ended() == []


def test_a_killed_agent_learns_why() -> None:
    for reasons, expected in (
        ([None], ("k: Title (high)", "k0")),
        ([None, "k: Title (high)"], ("k: Title (high)", "k0")),
        ([None, "by hand"], ("by hand", "")),
        (["by hand", None], ("by hand", "")),
    ):
        agent = Agent(AGENT, "a", HOST.boot)
        held = Answers(agent)
        take(held, alert("k"))
        for reason in reasons:
            held.killed(reason)
        assert (agent.reason, agent.alert_id) == expected


def test_an_ended_agent_is_left_alone() -> None:
    one = alert("k")
    assert take(answers(state=agent_pb2.AGENT_STATE_FINISHED), one) is None
    assert one.response == "none"


step = st.tuples(st.sampled_from("ifkm"), st.integers(0, 3))


@given(st.lists(step, max_size=12), st.integers(0, 12))
def test_a_replay_asks_for_nothing_twice_and_says_the_same(steps: list[tuple[str, int]], begun: int) -> None:
    """A plane that died: responses of alerts up to `begun` were begun, the others are wanted again, with their ids."""

    def run(held: Answers, known: dict[str, KnownAlert]) -> tuple[list[ResponseWanted], dict[str, Alert]]:
        alerts: dict[str, Alert] = {}
        wanted = []
        for detector, number in steps:
            one = alert(detector, number)
            if one.id not in alerts:
                alerts[one.id] = one
                found = held.take(POLICY, one, known.get(one.id))
                wanted += [found] if found else []
        return wanted, alerts

    first, alerts = run(answers(), {})
    stored = {each.id: each.action for each in first[:begun]}
    known = {
        one.id: KnownAlert(one.response_id, False, one.response, stored.get(one.response_id, KILL))
        for one in alerts.values()
        if not one.response_id or one.response_id in stored
    }
    second, again = run(answers(), known)
    assert second == first[begun:]
    assert {key: (one.response, one.response_id) for key, one in again.items()} == {
        key: (one.response, one.response_id) for key, one in alerts.items()
    }
