"""logs."""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import click

from rubicon.cli.daemons import logfile
from rubicon.cli.framework import json_option
from rubicon.cli.render.output import Output
from rubicon.cli.render.safe import safe
from rubicon.client.errors import NotFound, PermissionDenied
from rubicon.v1.instance import Instance

DAEMONS = ("plane", "sensor", "supervisor")
POLL_S = 0.2


@click.command("logs")
@click.argument("daemon", required=False, type=click.Choice(DAEMONS))
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines.")
@click.option("-n", "--lines", default=50, type=click.IntRange(0), help="Last lines of each; 50 unless given.")
@json_option
def logs(daemon: str | None, follow: bool, lines: int, as_json: bool) -> None:
    """Show the logs of plane and sensor, as 'rubicon up' and 'rubicon run' keep them (root).

    They are files of 8 MB at most; the one before is kept and shown too. As a systemd service Rubicon logs to the
    journal instead: journalctl -u rubicon.
    """
    instance = Instance.current()
    folder = instance.log_dir
    output = Output()
    try:
        names = [daemon] if daemon else [name for name in DAEMONS if (folder / f"{name}.log").exists()]
        opened: list[tuple[str, TextIO]] = [(name, (folder / f"{name}.log").open(errors="replace")) for name in names]
    except PermissionError:
        raise PermissionDenied(f"you may not read {folder}", "use sudo") from None
    except FileNotFoundError:
        opened = []
    if logfile.is_elsewhere(instance):
        raise NotFound("the daemons that run here log to the journal", "read it with 'journalctl -u rubicon'")
    if not opened:
        raise NotFound(f"no logs in {folder}", "nothing has run here yet: start it with 'sudo rubicon up'")
    for name, file in opened:
        for line in deque(chain(_earlier(folder / f"{name}.log"), file), maxlen=lines):
            _line(output, name, line, as_json)
    while follow:
        time.sleep(POLL_S)
        for place, (name, file) in enumerate(opened):
            opened[place] = (name, _current(folder / f"{name}.log", file))
            for line in _new(opened[place][1]):
                _line(output, name, line, as_json)


def _earlier(path: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), logfile.earlier(path).open(errors="replace") as file:
        yield from file


def _new(file: TextIO) -> Iterator[str]:
    while line := file.readline():
        yield line


def _current(path: Path, file: TextIO) -> TextIO:
    """The file from its beginning when it was cut or made anew."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return file
    if size < file.tell():
        file.close()
        return path.open(errors="replace")
    return file


def _line(output: Output, name: str, line: str, as_json: bool) -> None:
    if as_json:
        output.json(parsed(name, line))
    else:
        output.text(f"{name:<7} {safe(line.rstrip())}")


def parsed(name: str, line: str) -> dict[str, Any]:
    """A line as the object that a daemon wrote; what is none (a library's own words) is its event."""
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    return {"event": line.rstrip(), **(value if isinstance(value, dict) else {}), "daemon": name}


COMMAND = logs
