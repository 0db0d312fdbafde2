"""audit export."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from rubicon.cli import interrupt
from rubicon.cli.framework import connect, json_option
from rubicon.cli.render.output import Output
from rubicon.cli.render.safe import safe
from rubicon.client.errors import InvalidArgument


@click.command("export")
@click.option(
    "-o", "--output", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Not stdout."
)
@json_option
def export(file: Path | None, as_json: bool) -> None:
    """Write the whole audit as JSON lines, with its checkpoints and the public key, for 'rubicon audit verify FILE'.

    The fingerprint of the key goes to stderr: keep it apart from the file. With --json, what was written is told on stdout.
    """
    if as_json and file is None:
        raise click.UsageError("--json tells what was written to a file: give -o FILE")
    told: dict[str, str | int] = {"fingerprint": "", "records": 0, "checkpoints": 0}
    with interrupt.raising(), connect() as client:
        lines = _counted(client.audit.export(), told)
        if file is None:
            for line in lines:
                sys.stdout.write(line + "\n")
            sys.stdout.flush()
        else:
            _write(file, lines)
    if as_json:
        Output().json({"file": str(file), **told})
    else:
        words = f"{told['records']} records, signed by {told['fingerprint']}: keep this fingerprint apart from the file"
        Output(sys.stderr).line([(safe(words), "")])


def _counted(lines: Iterable[str], told: dict[str, str | int]) -> Iterator[str]:
    for line in lines:
        if line.startswith('{"rubicon_audit"'):
            told["fingerprint"] = str(json.loads(line)["fingerprint"])
        elif line.startswith('{"checkpoint"'):
            told["checkpoints"] = int(told["checkpoints"]) + 1
        elif not line.startswith('{"end"'):
            told["records"] = int(told["records"]) + 1
        yield line


def _write(file: Path, lines: Iterable[str]) -> None:
    """All of it or nothing, for its owner alone."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                for line in lines:
                    out.write(line + "\n")
                out.flush()
                os.fsync(out.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidArgument(f"{file}: {error.strerror}", "give another file by -o") from None


COMMAND = export
