"""doctor."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rubicon.cli.daemons.checks import Check, checks
from rubicon.cli.framework import Verdict, View, json_option, show
from rubicon.cli.render.output import Output
from rubicon.cli.render.safe import safe
from rubicon.v1.instance import Instance

_LOOK = {"ok": ("✔", "green"), "warning": ("!", "yellow"), "failed": ("✘", "bold red")}


def _human(output: Output, found: Iterable[Check]) -> None:
    for check in found:
        icon, style = _LOOK[check.state]
        output.wrapped(
            [(f"{output.icon(icon, check.state)} ", style), (f"{check.name:<10} ", "bold"), (safe(check.found), "")]
        )
        if check.advice and check.state != "ok":
            output.wrapped([(f"             {safe(check.advice)}", "dim")])


def _json(check: Check) -> list[dict[str, str]]:
    return [{"check": check.name, "state": check.state, "found": check.found, "advice": check.advice}]


VIEW: View[Check] = View(
    json=_json, human=_human, verdict=lambda check: Verdict.NO if check.state == "failed" else Verdict.YES
)


@click.command("doctor")
@json_option
def doctor(as_json: bool) -> Verdict:
    """Say what works on this host, and what to do about what does not.

    The last check sends one synthetic event from the sensor through spool, stream, pipeline and store. The exit status
    is 1 when something essential fails.
    """
    return show(VIEW, checks(Instance.current()), as_json)


COMMAND = doctor
