"""audit verify."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from rubicon.cli.audit.shape import report, show_report
from rubicon.cli.framework import Verdict, View, connect, json_option, show
from rubicon.cli.render.output import Output
from rubicon.client.errors import InvalidArgument
from rubicon.client.records.audit import AuditFault, AuditReport

_LONGEST = 4096


def _show(output: Output, reports: Iterable[AuditReport]) -> None:
    for one in reports:
        show_report(output, one)


VIEW = View(
    json=lambda one: [report(one)],
    human=_show,
    verdict=lambda one: Verdict.YES if one.ok else Verdict.NO,
)


@click.command("verify")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--key", "keys", multiple=True, metavar="KEY",
    help="Trust this key: a fingerprint (SHA256:…), a file with a public key, or the key in base64.",
)  # fmt: skip
@json_option
def verify(file: Path | None, keys: tuple[str, ...], as_json: bool) -> Verdict:
    """Check that no record was edited, deleted, reordered, inserted or cut off; the exit status is 1 where one was.

    Without FILE the plane checks its own audit. With FILE, an export, it is checked here, without a plane; say by --key
    which key you trust, or it is only certain that the file agrees with the key that it brings along.
    """
    fingerprints = [key for key in keys if key.startswith("SHA256:")]
    public = [_key(key) for key in keys if key not in fingerprints]
    if file is not None:
        from rubicon.client.audit_file import check

        found = check(file, public, fingerprints)
        if not keys and not as_json:
            words = f"the key is the file's own, {found.fingerprint}: compare it with what the export said"
            Output(sys.stderr).line([(words, "yellow")])
    else:
        with connect() as client:
            found = _named(client.audit.verify(public), fingerprints)
    return show(VIEW, [found], as_json)


def _named(found: AuditReport, fingerprints: list[str]) -> AuditReport:
    """The plane's own key has to be one of those that were named."""
    from dataclasses import replace

    if not fingerprints or found.fingerprint in fingerprints:
        return found
    what = f"the plane signs with {found.fingerprint}, which is none of the keys that are trusted"
    return replace(found, faults=(AuditFault(first=0, last=0, time="", what=what), *found.faults))


def _key(text: str) -> bytes:
    from rubicon.client.audit_file import public_key

    path = Path(text)
    try:
        if path.is_file():
            with path.open(encoding="ascii", errors="replace") as file:
                text = file.read(_LONGEST)
        return public_key(text)
    except (InvalidArgument, OSError) as error:
        raise click.BadParameter(f"--key {str(path)[:80]!r}: {error}") from None


COMMAND = verify
