"""An export of the audit: a file of JSON lines that anybody can check anywhere.

    {"rubicon_audit": 1, "public_key": "…", "fingerprint": "SHA256:…"}
    {"checkpoint": {…}, "signature": "…"}        every checkpoint
    {"record": {…}, "hash": "…"}                 every record, in order
    {"end": {…}, "signature": "…"}               signed: how far it goes

A record is in its canonical form, so the SHA-256 of the text after `"record":` is its hash. What cannot be read any more,
because it was changed before the export, stands there as `"raw"`, in base64, with its `"place"`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rubicon.client.errors import InvalidArgument
from rubicon.client.records.audit import AuditFault, AuditReport
from rubicon.v1 import audit_service_pb2
from rubicon.v1.audit_chain import CHECKPOINT, EXPORT, Signed, Verifier, canonical, fingerprint, parse

VERSION = 1


def lines(answer: audit_service_pb2.ExportAuditResponse) -> list[str]:
    """The lines that one message brings, without their newlines."""
    found = []
    if answer.public_key:
        key = {"public_key": _text(answer.public_key), "fingerprint": fingerprint(answer.public_key)}
        found.append(json.dumps({"rubicon_audit": VERSION, **key}))
    found += [_signed(CHECKPOINT, each) for each in answer.checkpoints]
    found += [_record(each.sequence, each.content, each.hash.hex()) for each in answer.records]
    if answer.HasField("end"):
        found.append(_signed("end", answer.end))
    return found


def check(file: Path, keys: Iterable[bytes] = (), fingerprints: Iterable[str] = ()) -> AuditReport:
    """Check an export, without a plane.

    Args:
        keys: raw public keys to trust, besides none; where there is neither a key nor a fingerprint, the file's own.
        fingerprints: of keys to trust; the file's own key counts when it has one of them.

    Raises:
        InvalidArgument: it cannot be read, or is no export.
    """
    keys, wanted = list(keys), set(fingerprints)
    try:
        own = _header(file)
        trusted = keys + ([own] if fingerprint(own) in wanted or not (keys or wanted) else [])
        signed: list[Signed] = []
        ends = 0
        for kind, value in _read(file):
            if kind in (CHECKPOINT, "end"):
                signed.append(value)
                ends += kind == "end"
        verifier = Verifier(trusted, signed)
        odd = []
        for number, (kind, value) in enumerate(_read(file), 2):
            if kind == "record":
                verifier.take(*value)
            elif not kind:
                odd.append(AuditFault(first=0, last=0, time="", what=f"line {number} of the file cannot be read"))
    except OSError as error:
        raise InvalidArgument(f"{file}: {error.strerror}") from None
    report = AuditReport.made(verifier.finish(), fingerprint(own))
    faults = [*odd, *report.faults]
    if ends != 1:
        what = "the file has no signed end: it was cut, or its export was broken off"
        faults.append(AuditFault(first=report.last + 1, last=report.last + 1, time="", what=what))
    if not trusted:
        what = f"the file is signed by {fingerprint(own)}, which is none of the keys that are trusted"
        faults.insert(0, AuditFault(first=0, last=0, time="", what=what))
    return replace(report, faults=tuple(faults))


def public_key(text: str) -> bytes:
    """A public key as people have it: PEM, or base64 of the 32 raw bytes.

    Raises:
        InvalidArgument: it is neither.
    """
    # 10 MB and 40 ms: only who verifies pays for it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        if "BEGIN" in text:
            key = load_pem_public_key(text.encode())
            if isinstance(key, Ed25519PublicKey):
                return key.public_bytes_raw()
        else:
            raw = base64.b64decode(text.strip(), validate=True)
            if len(raw) == 32:
                return raw
    except ValueError:
        pass
    raise InvalidArgument("no public key of Ed25519: give PEM, or the 44 characters that an export has as public_key")


def _header(file: Path) -> bytes:
    with file.open("rb") as data:
        first = data.readline(4096)
    try:
        head = json.loads(first)
        if head["rubicon_audit"] != VERSION:
            raise InvalidArgument(
                f"{file}: an export of version {head['rubicon_audit']!r}; this program reads {VERSION}"
            )
        return public_key(head["public_key"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidArgument(f"{file} is no export of an audit: make one with 'rubicon audit export'") from None


def _read(file: Path) -> Iterator[tuple[str, Any]]:
    """(kind, what it is) of each line after the first; kind is empty for what cannot be read."""
    with file.open("rb") as data:
        data.readline()
        for line in data:
            try:
                found = json.loads(line)
                if "record" in found:
                    content = canonical(found["record"])
                    yield "record", (int(found.get("place", found["record"]["sequence"])), content, str(found["hash"]))
                elif "raw" in found:
                    yield "record", (int(found["place"]), base64.b64decode(found["raw"]), str(found["hash"]))
                else:
                    kind = CHECKPOINT if CHECKPOINT in found else "end"
                    statement = Signed(canonical(found[kind]), base64.b64decode(found["signature"]))
                    wrong = kind == "end" and found[kind]["kind"] != EXPORT
                    yield ("", None) if wrong else (kind, statement)
            except (ValueError, KeyError, TypeError, AttributeError):
                yield "", None


def _record(place: int, content: bytes, hash_: str) -> str:
    try:
        body = parse(content)
    except ValueError:
        return json.dumps({"raw": _text(content), "place": place, "hash": hash_})
    moved = "" if body.get("sequence") == place else f'"place":{place},'
    return f'{{{moved}"record":{content.decode()},"hash":"{hash_}"}}'


def _signed(kind: str, statement: Any) -> str:
    try:
        parse(statement.content)
        content = statement.content.decode()
    except ValueError:
        content = json.dumps({"unreadable": _text(statement.content)})
    return f'{{"{kind}":{content},"signature":"{_text(statement.signature)}"}}'


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
