"""kill."""

from __future__ import annotations

import re
from typing import Any

import click

from rubicon.cli.framework import Verdict, View, agent_names, connect, json_option, show
from rubicon.cli.render import shapes
from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.client.records.response import Response

_PROCESS = re.compile(r"(?:pid:)?([1-9][0-9]{0,9})(?:@([0-9]+))?")


def _human(output: Output, responses: Any) -> None:
    for response in responses:
        done = response.verified
        parts: list[Part] = [
            (f"{output.icon('✔' if done else '✘')} ", "green" if done else "bold red"),
            (f"killed {response.killed} processes of agent {response.agent_id}", ""),
            (f" in {response.elapsed_ns / 1e6:.0f} ms", ""),
            (f"  ({'; '.join(safe(step) for step in response.steps)})", "dim"),
        ]
        output.wrapped(parts)
        if response.error:
            output.wrapped([(f"  {safe(response.error)}", "red")])
        for each in response.survivors:
            output.wrapped([(f"  left: {each.pid} {safe(each.name)}: {safe(each.why)}", "bold red")])


def verdict(response: Response) -> Verdict:
    """Everything, or only a part."""
    return Verdict.YES if response.verified and not response.survivors else Verdict.PARTLY


VIEW: View[Response] = View(json=lambda response: [shapes.response(response)], human=_human, verdict=verdict)


def parsed(target: str) -> tuple[int, int] | None:
    """(pid, start time or 0) when a target names a process; None when it names an agent."""
    match = _PROCESS.fullmatch(target)
    if not match or (len(match[1]) > 7 and not target.startswith("pid:")):
        return None  # a pid has at most 7 digits (4 194 304), an id of 12 digits may have no letter
    return int(match[1]), int(match[2] or 0)


@click.command("kill")
@click.argument("target", shell_complete=agent_names)
@click.option("--reason", default="", help="Why; it is kept with the response and in the audit.")
@click.option("--force", is_flag=True, help="Also when the target holds the caller itself.")
@click.option("--local", is_flag=True, help="Ask this host's sensor, not the plane: works while the plane is dead.")
@json_option
def kill(target: str, reason: str, force: bool, local: bool, as_json: bool) -> Verdict:
    """End every process of TARGET, and return when the kernel says that none is left.

    TARGET is an agent (id, unique id prefix or name) or one of an agent's processes with its descendants: PID,
    pid:PID, or PID@START with the start time that 'tree --json' shows, so that a reused pid is no danger.

    Nothing else is ever killed: not pid 1, not the sensor, and the caller itself only with --force. When something is
    left (in D state, say) it is listed, stays condemned, and the exit status is 6.
    """
    process = parsed(target)
    if local:
        from rubicon.client.local import LocalSocket

        whom: object = {"pid": process[0], "start_time": process[1]} if process else target
        answer = LocalSocket().call("kill", target=whom, reason=reason, force=force, timeout=60)
        return show(VIEW, [Response.of_local(answer)], as_json)
    with connect() as client:
        if process:
            response = client.kill_process(process[0], start_time=process[1], reason=reason, force=force)
        else:
            response = client.agents.get(target).kill(reason=reason, force=force)
        return show(VIEW, [response], as_json)


COMMAND = kill
