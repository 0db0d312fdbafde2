"""What became of a response, for people and programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rubicon.cli.framework import Verdict
from rubicon.cli.render import shapes
from rubicon.cli.render.lines import clock
from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.cli.respond.order import Order
from rubicon.client.records.response import Response

if TYPE_CHECKING:
    from rubicon.cli.respond.many import Outcome


_NAMED = 3
"""Of who is left, in a row of the table; --json has all."""


def show(order: Order, outcomes: Iterable[Outcome], as_json: bool, *, table: bool) -> Verdict:
    """Show them on stdout; partly, when one of them is not whole."""
    output = Output()
    found = []
    for outcome in outcomes:
        found.append(outcome)
        if as_json:
            output.json(_json(outcome))
        elif outcome.response and not table:
            _whole(output, outcome.response)
    if table and not as_json:
        _table(output, order, found)
    return Verdict.YES if all(whole(outcome.response) for outcome in found) else Verdict.PARTLY


def whole(response: Response | None) -> bool:
    """It is done, and nothing is left; or it was a dry run."""
    return response is not None and (response.dry_run or (response.verified and not response.survivors))


def done(response: Response) -> str:
    """What was done, in words."""
    if response.dry_run:
        return f"would {response.action} {len(response.members)} processes"
    if response.action == "kill":
        return f"killed {response.killed} processes"
    if response.action == "isolate":
        return f"isolated, {response.destroyed} connections cut"
    return {"freeze": "frozen", "release": "released"}.get(response.action) or _unknown(response)


def _sentence(response: Response) -> str:
    if response.action == "kill" or response.dry_run:
        return f"{done(response)} of agent {response.agent_id}"
    words = {"freeze": "froze", "isolate": "isolated", "release": "released"}
    more = f", {response.destroyed} connections cut" if response.action == "isolate" else ""
    return f"{words.get(response.action) or _unknown(response)} agent {response.agent_id}{more}"


def _unknown(response: Response) -> str:
    """An action of a newer plane, as it came."""
    return f"action {safe(response.action)}: {safe(response.state)}"


def _json(outcome: Outcome) -> dict[str, Any]:
    if outcome.response:
        return shapes.response(outcome.response)
    return {"target": outcome.whom.agent or outcome.whom.name, "error": outcome.error}


def _whole(output: Output, response: Response) -> None:
    good = whole(response)
    parts: list[Part] = [
        (f"{output.icon('✔' if good else '✘')} ", "green" if good else "bold red"),
        (_sentence(response), ""),
        (f" in {response.elapsed_ns / 1e6:.0f} ms" if response.elapsed_ns else "", ""),
        (f", until {response.expires_at:%H:%M:%S} UTC" if response.expires_at else "", ""),
        (f"  ({'; '.join(safe(step) for step in response.steps)})", "dim"),
    ]
    output.wrapped(parts)
    if response.error:
        output.wrapped([(f"  {safe(response.error)}", "red")])
    for member in response.members:
        output.line([(f"  {member.pid} {safe(member.name)}", "")])
    for each in response.survivors:
        output.wrapped([(f"  left: {each.pid} {safe(each.name)}: {safe(each.why)}", "bold red")])


_ICONS = {"requested": "…", "applied": "▷", "verified": "✔", "failed": "✘"}
_STYLES = {"requested": "dim", "applied": "yellow", "verified": "green", "failed": "bold red"}


def line(output: Output, response: Response) -> None:
    """A response and how far it is, in one line."""
    state = safe(response.state)
    when = response.requested_at
    parts: list[Part] = [
        (f"{clock(when)} " if when else "", "dim"),
        (f"{output.icon(_ICONS.get(response.state, '?'))} {state:<9} ", _STYLES.get(response.state, "")),
        (f"{safe(response.action):<7} ", "bold"),
        (f"{response.agent_id} ", "magenta"),
        (f"[{response.process[0]}] " if response.process else "", "bold"),
        (f"by {safe(response.requested_by)}", ""),
        (f": {safe(response.reason)}" if response.reason else "", ""),
        (f"  {done(response)}" if response.verified or response.killed else "", ""),
        (f" in {response.elapsed_ns / 1e6:.0f} ms" if response.elapsed_ns else "", "dim"),
        (f"  {safe(response.error)}" if response.error else "", "red"),
    ]
    output.line(parts)


def _why(outcome: Outcome) -> str:
    """What is wrong, with the first of who is left."""
    if not outcome.response:
        return safe(outcome.error)
    left = outcome.response.survivors
    named = ", ".join(f"{each.pid} {safe(each.name)}".strip() for each in left[:_NAMED])
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return safe(outcome.response.error) + (f" (left: {named}{more})" if left else "")


def _table(output: Output, order: Order, found: list[Outcome]) -> None:
    def row(outcome: Outcome) -> list[Part]:
        response, good = outcome.response, whole(outcome.response)
        return [
            (f"{output.icon('✔' if good else '✘')}", "green" if good else "bold red"),
            (outcome.whom.name, "bold"),
            (response.agent_id if response else outcome.whom.agent, "dim"),
            (done(response) if response else "not done", ""),
            (f"{response.elapsed_ns / 1e6:.0f}" if response else "", ""),
            (_why(outcome), "red"),
        ]

    output.table(("", "NAME", "AGENT", "DONE", "MS", "ERROR"), map(row, found))
    failed = sum(outcome.asked and not whole(outcome.response) for outcome in found)
    unasked = sum(not outcome.asked for outcome in found)
    tail = (f", {failed} not whole" if failed else "") + (f", {unasked} not asked" if unasked else "")
    output.line([(f"{order.action}: {len(found)} targets{tail}", "bold red" if tail else "")])
