"""Checks the whole audit as it lies in the database, against the checkpoints there and in the plane's own file."""

from __future__ import annotations

import time
from collections.abc import Iterable

from controlplane.audit.notary import Notary
from controlplane.audit.record import differs
from controlplane.store.audit import AuditReader
from rubicon.v1.audit_chain import Fault, Report, Signed, Verifier, parse

_AT_ONCE = 500


def verify(reader: AuditReader, notary: Notary, earlier: Iterable[bytes] = ()) -> Report:
    """What is wrong. Blocks: about 4 seconds for 100 000 records.

    Args:
        earlier: raw public keys to trust besides the present one and those that the chain itself announces.

    Raises:
        StoreUnavailable: the database cannot be read.
        OSError: the file of checkpoints cannot be read.
    """
    # The checkpoints first: whatever they speak of is durable already.
    stored, kept = reader.checkpoints(), notary.read()
    verifier = Verifier([notary.public, *earlier], [*stored, *kept])
    place = 0
    while rows := reader.run(place, _AT_ONCE):
        for row in rows:
            verifier.take(row.sequence, bytes(row.body), bytes(row.hash).hex(), differs(row))
        place = rows[-1].sequence
        time.sleep(0)  # the event loop's thread gets its turn
    report = verifier.finish()
    report.faults = sorted([*report.faults, *_only_in_the_table(stored, kept, notary.file.name)], key=_place)
    return report


def _only_in_the_table(stored: list[Signed], kept: list[Signed], name: str) -> list[Fault]:
    """A checkpoint is in the file before it is in the table; one that is not there was taken out of it."""
    places = [place for place, _ in map(_where, kept) if place]
    known = set(kept)
    found = []
    for signed in stored:
        place, at = _where(signed)
        if signed not in known and place >= min(places, default=0):
            what = f"the checkpoint of {at} is in the database and not in {name}: that file was cut, changed or removed"
            found.append(Fault(place, place, at, what))
    return found


def _where(signed: Signed) -> tuple[int, str]:
    try:
        body = parse(signed.content)
        return int(body["sequence"]), str(body["time"])
    except (ValueError, KeyError):
        return 0, ""


def _place(fault: Fault) -> tuple[int, int]:
    return fault.first, fault.last
