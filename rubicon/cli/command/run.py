"""run."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from rubicon.cli import words
from rubicon.cli.framework import ChildStatus, program_names
from rubicon.cli.launch import multiplexer, survivors, wait
from rubicon.cli.launch.child import Child, NotStarted
from rubicon.cli.launch.identity import Identity, chosen
from rubicon.cli.launch.profile import launch as profiles
from rubicon.cli.launch.teller import Teller
from rubicon.cli.launch.terminal import Terminal
from rubicon.cli.render.safe import safe
from rubicon.client.errors import RubiconError, RubiconUnreachable
from rubicon.client.local import LocalSocket
from rubicon.v1.instance import Instance

TIMED_OUT, KILLED = 124, 137
ON_EXIT = "CMD ended (--kill-on-exit)"


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option("--name", default="", help="Of the agent, unique among the living; its id unless given.")
@words.label_option("May be repeated.")
@click.option("--user", metavar="USER", help="Run CMD as this user; the one who typed sudo unless given.")
@click.option(
    "--timeout", callback=words.option(words.length), metavar="TIME", help="Kill the tree after this time; exit 124."
)
@click.option(
    "--on-alert",
    type=click.Choice(["monitor", "kill"]),
    default="monitor",
    help="kill: end the agent at an alert from severity high on.",
)
@click.option("--kill-on-exit", is_flag=True, help="When CMD ends, end what it left running.")
@click.option(
    "--alerts-to", type=click.File("a", lazy=False), metavar="FILE", help="Write alerts there, not to stderr."
)
@click.option("--no-new-privs", is_flag=True, help="sudo and other setuid programs gain nothing inside.")
@click.option("--privileged", is_flag=True, help="No launch profile: CMD keeps all capabilities and system calls.")
@click.option(
    "--profile", type=click.Choice(["show"]), help="Print the launch profile (--json: for programs), run nothing."
)
@click.option("--json", "as_json", is_flag=True, hidden=True)
@click.option("-q", "--quiet", is_flag=True, help="No summary.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="CMD…", shell_complete=program_names)
def run(
    name: str,
    labels: dict[str, str],
    user: str | None,
    timeout: float | None,
    on_alert: str,
    kill_on_exit: bool,
    alerts_to: TextIO | None,
    no_new_privs: bool,
    privileged: bool,
    profile: str | None,
    as_json: bool,
    quiet: bool,
    command: tuple[str, ...],
) -> ChildStatus:
    """Run CMD as a watched agent, in a cgroup of its own, enrolled before its first instruction.

    CMD keeps terminal, job control, signals, stdin and stdout, and its exit status. Alerts go to stderr as they happen;
    while CMD has the terminal (an editor, say) they wait for the summary. Plane and sensor are started unless they run,
    and stay until 'rubicon down'. CMD runs under the launch profile (docs/launch-profile.md): some capabilities, system
    calls and socket families are taken away, and the daemons' files, disks and the kernel's switches are out of reach.
    """
    if privileged and no_new_privs:
        raise click.UsageError("--privileged and --no-new-privs contradict each other")
    limits = profiles.chosen(privileged=privileged, no_new_privs=no_new_privs)
    if profile:
        from rubicon.cli.launch.profile.show import show

        show(limits, as_json)
        return ChildStatus(0)
    if not command or as_json:
        raise click.UsageError("--json goes with --profile show" if command else "Missing argument 'CMD…'.")
    identity = chosen(user, os.environ)
    terminal = Terminal()
    _warn(command, identity, terminal)
    if limits.forced and not quiet:
        click.echo(
            "rubicon: only root may launch CMD without no_new_privs: sudo and other setuid programs gain nothing inside "
            "(--no-new-privs says that you know)",
            err=True,
        )
    limits = limits.ready()
    ignored = wait.ignored()
    child = Child.fork(command, identity, limits, group=terminal.present, ignored=ignored)
    try:
        agent_id = _enrol(child, name, labels, on_alert, command, identity)
        # before CMD can take every pid: afterwards neither may be to be had
        teller = Teller(agent_id, lambda: terminal.busy(child), alerts_to, child)
        expired = _limit(agent_id, timeout)
    except BaseException:
        child.abandon()
        raise
    wait.forward(child, terminal)
    terminal.give(child)
    try:
        child.release()
    except NotStarted as error:
        terminal.take(child, restore=False)
        click.echo(f"rubicon: {safe(str(error))}", err=True)
        return ChildStatus(error.status)
    teller.begin()
    status = wait.wait(child, terminal)
    return ChildStatus(_ended(agent_id, status, teller, expired, kill_on_exit, quiet))


def _warn(command: Sequence[str], identity: Identity, terminal: Terminal) -> None:
    program = Path(command[0]).name
    for server in multiplexer.servers(identity.uid):
        if program == server or terminal.present:
            click.echo(
                f"rubicon: a {server} server of {safe(identity.name)} runs already: windows opened through it start "
                "outside the agent's tree and are not watched",
                err=True,
            )


def _enrol(
    child: Child, name: str, labels: dict[str, str], on_alert: str, command: Sequence[str], identity: Identity
) -> str:
    readable = [word.encode(errors="surrogateescape").decode(errors="backslashreplace")[:200] for word in command[:64]]

    def launch() -> str:
        answer = LocalSocket().call(
            "launch",
            pid=child.pid,
            name=name,
            labels=labels,
            on_alert=on_alert,
            command=readable,
            uid=identity.uid,
        )
        return str(answer["agent_id"])

    try:
        return launch()
    except RubiconUnreachable:
        from rubicon.cli.daemons import start

        click.echo("rubicon: starting plane and sensor …", err=True)
        start.ensure(Instance.current())
        return launch()


def _limit(agent_id: str, timeout: float | None) -> threading.Event:
    expired = threading.Event()

    def kill() -> None:
        expired.set()
        try:
            LocalSocket().call("kill", target=agent_id, reason=f"time limit of {timeout:g} s", force=False, timeout=60)
        except RubiconError as error:
            click.echo(f"rubicon: the time limit could not end it: {safe(error.message)}", err=True)

    if timeout is not None:
        timer = threading.Timer(timeout, kill)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            raise click.ClickException("no thread can be started to watch the time limit: too many processes") from None
    return expired


def _ended(
    agent_id: str, status: int, teller: Teller, expired: threading.Event, kill_on_exit: bool, quiet: bool
) -> int:
    ours = False
    alive, condemned = survivors.survivors(agent_id)
    if alive and condemned:  # CMD is among the first to die of it
        alive = survivors.killed(agent_id)
    elif alive and kill_on_exit:
        ours = True
        try:
            LocalSocket().call("kill", target=agent_id, reason=ON_EXIT, force=False, timeout=60)
        except RubiconError as error:
            click.echo(f"rubicon: what CMD left could not be ended: {safe(error.message)}", err=True)
        alive, _ = survivors.survivors(agent_id)
    agent = teller.finish(alive, quiet=quiet, by_us=ours or expired.is_set())
    sys.stderr.flush()
    if expired.is_set():
        click.echo("rubicon: the time limit was reached, the tree was killed", err=True)
        return TIMED_OUT
    if agent and agent.state == "killed" and not (ours and agent.reason in ("", ON_EXIT)):
        click.echo(f"rubicon: agent {safe(agent.name)} was killed: {safe(agent.reason) or 'no reason given'}", err=True)
        return KILLED
    return status


COMMAND = run
