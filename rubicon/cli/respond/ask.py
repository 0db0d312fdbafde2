"""Asking for a response, of one target or of a thousand: through the plane, or this host's sensor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import click

from rubicon.cli.framework import Verdict, connect
from rubicon.cli.respond.many import Many, Outcome
from rubicon.cli.respond.order import Order
from rubicon.cli.respond.show import show
from rubicon.cli.respond.whom import Chosen, Whom, chosen
from rubicon.client import requests
from rubicon.client.local import LocalSocket
from rubicon.client.records.response import Response
from rubicon.client.sync import Client
from rubicon.v1.ttl import of_seconds

_LOCAL_TIMEOUT_S = 60


def carry_out(order: Order, choice: Chosen, *, local: bool, as_json: bool) -> Verdict:
    """Ask for it, show it, and say how it went.

    Raises:
        RubiconError: of a single target, what was refused; of many it is a row of the table.
    """
    if local:
        targets = chosen(choice, order.action, None)
        return _ask(order, targets, choice, lambda whom: _locally(order, whom), as_json)
    with connect() as client:
        targets = chosen(choice, order.action, client)
        return _ask(order, targets, choice, lambda whom: client.call(_call(client, order, whom)), as_json)


def _ask(
    order: Order, targets: Sequence[Whom], choice: Chosen, ask: Callable[[Whom], Response], as_json: bool
) -> Verdict:
    if len(targets) == 1 and not choice.many:
        return show(order, [Outcome(targets[0], ask(targets[0]))], as_json, table=False)
    many = Many(targets, ask)
    verdict = show(order, _progress(order, targets, many.outcomes()), as_json, table=True)
    if many.interrupted:
        raise KeyboardInterrupt
    return verdict


def _progress(order: Order, targets: Sequence[Whom], outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    if not sys.stderr.isatty():
        yield from outcomes
        return
    with click.progressbar(length=len(targets), label=order.action, file=sys.stderr, show_pos=True) as bar:
        for outcome in outcomes:
            bar.update(1)
            yield outcome


def _call(client: Client, order: Order, whom: Whom) -> requests.Call[Response]:
    if whom.process:
        target = requests.process_target(*whom.process, "", "")
    else:
        target = requests.agent_target(client.agents.get(whom.agent).id)
    if order.action == "kill":
        return requests.kill(target, order.reason, order.force, order.dry_run)
    if order.action == "freeze":
        return requests.freeze(target, order.reason, order.force, order.ttl, order.dry_run)
    if order.action == "isolate":
        return requests.isolate(target, order.reason, order.force, order.ttl, order.dry_run, **order.isolation)
    return requests.release(target, order.reason, order.dry_run)


def _locally(order: Order, whom: Whom) -> Response:
    target: object = {"pid": whom.process[0], "start_time": whom.process[1]} if whom.process else whom.agent
    more = dict(order.isolation)
    if order.ttl is not None:
        more["ttl_ns"] = of_seconds(order.ttl)
    if order.action != "release":
        more["force"] = order.force
    answer = LocalSocket().call(
        order.action, timeout=_LOCAL_TIMEOUT_S, target=target, reason=order.reason, dry_run=order.dry_run, **more
    )
    return Response.of_local(answer)
