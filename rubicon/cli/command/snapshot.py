"""snapshot."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rubicon.cli import interrupt
from rubicon.cli.framework import Verdict, agent_names, json_option, secrets_option
from rubicon.cli.render.output import Output
from rubicon.cli.render.safe import safe
from rubicon.cli.snapshot import archive
from rubicon.cli.snapshot.process import Gone, described
from rubicon.client.errors import InvalidArgument, PermissionDenied
from rubicon.client.local import LocalSocket


@click.command("snapshot")
@click.argument("agent", shell_complete=agent_names)
@click.option(
    "-o", "--output", "path", required=True, type=click.Path(dir_okay=False, path_type=Path), help="FILE.tar or .tar.gz"
)
@secrets_option
@json_option
def snapshot(agent: str, path: Path, show_secrets: bool, as_json: bool) -> Verdict:
    """Keep what /proc shows of each of AGENT's processes, on this host, in a tar with a manifest (root).

    Per process: hash of the program, arguments, environment, open files and sockets, memory map, folders, credentials,
    namespaces. Freeze the agent first: of one that runs, the pictures are not of one moment.
    """
    if os.geteuid():
        raise PermissionDenied("only root may read what processes hold", "use sudo")
    found = LocalSocket().call("members", target=agent)
    if not found["frozen"]:
        click.echo(f"rubicon: {safe(found['name'])} is not frozen: its processes change while they are read", err=True)
    gone: list[str] = []
    head = {
        "agent": found["agent_id"],
        "name": found["name"],
        "frozen": found["frozen"],
        "isolated": found["isolated"],
        "host": platform.node(),
        "kernel": platform.release(),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "taken_at": datetime.now(UTC).isoformat(),
        "secrets": "shown" if show_secrets else "masked",
        "processes": [each["pid"] for each in found["processes"]],
    }
    try:
        with interrupt.raising():  # half an archive is taken away again
            manifest = archive.write(path, head, _files(found["processes"], show_secrets, gone))
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be written: {error.strerror}") from None
    _tell(path, manifest, gone, as_json)
    return Verdict.PARTLY if gone else Verdict.YES


def _files(processes: list[dict[str, Any]], show_secrets: bool, gone: list[str]) -> Iterator[tuple[str, bytes]]:
    for at, each in enumerate(processes, 1):
        if sys.stderr.isatty():
            print(f"\r{at} of {len(processes)} processes", end="" if at < len(processes) else "\n", file=sys.stderr)
        try:
            facts, maps = described(each["pid"], each["start_time"], show_secrets=show_secrets)
        except Gone as error:
            gone.append(str(error))
            continue
        yield f"processes/{each['pid']}/process.json", json.dumps(facts, indent=2).encode()
        yield f"processes/{each['pid']}/maps", maps


def _tell(path: Path, manifest: dict[str, Any], gone: list[str], as_json: bool) -> None:
    output = Output()
    taken = len(manifest["files"]) // 2
    if as_json:
        output.json({"file": str(path), "agent": manifest["agent"], "processes": taken, "gone": gone})
        return
    output.line([(f"{taken} processes of agent {manifest['agent']} are in {safe(str(path))}", "")])
    for each in gone:
        output.line([(f"  {each}", "yellow")])


COMMAND = snapshot
