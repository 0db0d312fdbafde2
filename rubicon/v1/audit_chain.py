"""The audit's chain, as whoever writes it and whoever checks it must agree on it.

A record is a flat JSON object in its canonical form: UTF-8, keys sorted, no spaces (`canonical`). It names its place
(`sequence`, from 1 without a gap) and the hash of the record before it (`previous`), and its own hash is the SHA-256 of
exactly those bytes. A checkpoint names a place and the hash there, signed with Ed25519 (RFC 8032). Whoever can write the
records can make every hash fit again, but not a checkpoint.

Every new key is itself announced by a record (action "key"), so the key of today vouches for those before it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

GENESIS = "0" * 64
"""`previous` of the first record."""
KEY = "key"
"""Action of a record that announces a key: `target` is its fingerprint, `detail` the raw public key in base64."""
CHECKPOINT, EXPORT = "checkpoint", "export"
"""`kind` of what is signed: a checkpoint, or the end of an export."""
MOST = 1000
"""Faults that are told; an audit with more of them is no better known by them."""
_DOMAIN = b"rubicon audit v1\n"
"""Signed in front of the bytes, so that a signature of this key is good for nothing else."""

Body = Mapping[str, str | int]


def canonical(body: Body) -> bytes:
    """The bytes that are hashed or signed."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def parse(data: bytes) -> dict[str, str | int]:
    """The inverse.

    Raises:
        ValueError: it is not canonical, or no flat object of texts and whole numbers.
    """
    body = json.loads(data)
    if not isinstance(body, dict) or any(type(value) not in (str, int) for value in body.values()):
        raise ValueError("no flat object")
    if canonical(body) != data:
        raise ValueError("not canonical")
    return body


def digest(data: bytes) -> str:
    """A record's hash, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(public: bytes) -> str:
    """How people name a key: "SHA256:" and 43 characters of base64, as ssh-keygen has it, of the 32 raw bytes."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def to_sign(data: bytes) -> bytes:
    """What Ed25519 signs for these bytes."""
    return _DOMAIN + data


def signature_fits(public: bytes, data: bytes, signature: bytes) -> bool:
    """The signature of these bytes is by this key (32 raw bytes)."""
    # 10 MB and 40 ms: only who verifies pays for it
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    with contextlib.suppress(InvalidSignature, ValueError):
        Ed25519PublicKey.from_public_bytes(public).verify(signature, to_sign(data))
        return True
    return False


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint, or the end of an export, with its signature."""

    content: bytes
    """Canonical: kind, sequence, hash, time, key (fingerprint)."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was written."""

    first: int
    """Sequence number of the first record that it concerns."""
    last: int
    time: str
    """RFC 3339: of the first record, or of the last one before it where that is gone; empty when not even that is known."""
    what: str


@dataclass(slots=True)
class Report:
    """What a check found."""

    records: int = 0
    checkpoints: int = 0
    """Signed by a key that is trusted."""
    last: int = 0
    """Sequence number of the last record."""
    covered: int = 0
    """Highest place that a trusted signature covers: what is later could have been changed together."""
    keys: dict[str, int] = field(default_factory=dict)
    """Fingerprint → signatures of it."""
    faults: list[Fault] = field(default_factory=list)
    """By place; at most MOST."""


class Verifier:
    """Takes the records of one audit in the order of their places, then says what is wrong."""

    def __init__(self, trusted: Iterable[bytes], signed: Iterable[Signed]) -> None:
        """
        Args:
            trusted: raw public keys.
            signed: every checkpoint there is, in any order.
        """
        self._keys = {fingerprint(public): public for public in trusted}
        self._announced: dict[str, tuple[int, bytes]] = {}
        self._report = Report()
        self._hashes: dict[int, str] = {}
        self._previous = GENESIS
        self._time = ""
        self._signed: list[tuple[int, str, str, str, Signed]] = []
        for each in dict.fromkeys(signed):
            try:
                body = parse(each.content)
                place, digest_, at, key = (body[name] for name in ("sequence", "hash", "time", "key"))
                self._signed.append((int(place), str(digest_), str(at), str(key), each))
            except (ValueError, KeyError):
                self._fault(0, 0, "a checkpoint cannot be read: it was changed")
        self._wanted = {place for place, *_ in self._signed}
        self._sound = True
        """Nothing was wrong with the record before."""
        self._beyond = (0, "")
        """The highest signed place after the last record, and when it was signed."""

    def take(self, place: int, content: bytes, hash_: str, wrong: str = "") -> None:
        """The next record.

        Args:
            place: where it stands, at or after the one before.
            hash_: that was stored with it.
            wrong: what the caller found wrong with it himself.
        """
        report = self._report
        report.records += 1
        if place <= report.last:
            self._fault(place, place, "stands here a second time or out of order: it was inserted or moved")
            return
        body: dict[str, str | int] = {}
        with contextlib.suppress(ValueError):
            body = parse(content)
        gap = place > report.last + 1
        if gap:
            self._missing(report.last + 1, place - 1, f"before {body['time']}" if "time" in body else "")
        before, self._time = self._time, str(body.get("time", self._time))
        wrong = self._own(place, content, hash_, body) or wrong
        if wrong:
            self._fault(place, place, wrong)
        elif self._sound and not gap and body.get("previous") != self._previous:
            what = f"records {place - 1} and {place} do not fit together: one of them was changed, replaced or inserted"
            self._fault(max(1, place - 1), place, what, before or self._time)
        if body.get("action") == KEY and not wrong:
            with contextlib.suppress(ValueError):
                public = base64.b64decode(str(body.get("detail")), validate=True)
                self._announced.setdefault(fingerprint(public), (place, public))
        if place in self._wanted:
            self._hashes[place] = hash_
        self._sound = not wrong
        self._previous, report.last = hash_, place

    def finish(self) -> Report:
        """Hold the signatures against the records."""
        report = self._report
        unknown = []
        for one in sorted(self._signed, key=lambda each: each[0]):
            public = self._keys.get(one[3])
            if public is None:
                unknown.append(one)
            else:
                self._signature(public, one)
        # A key that the chain itself announced counts as far as a trusted signature covers the announcement.
        for one in unknown:
            place, public = self._announced.get(one[3], (0, b""))
            if 0 < place <= report.covered:
                self._signature(public, one)
            else:
                self._fault(one[0], one[0], f"the checkpoint is signed by an unknown key, {one[3][:60]}", one[2])
        if self._beyond[0]:
            self._missing(report.last + 1, self._beyond[0], f"cut off: the checkpoint of {self._beyond[1]} has them")
        report.faults.sort(key=lambda fault: (fault.first, fault.last))
        return report

    @staticmethod
    def _own(place: int, content: bytes, hash_: str, body: Body) -> str:
        if digest(content) != hash_:
            return "its content does not have its hash: it was changed"
        if not body:
            return "it cannot be read: it was changed"
        if body.get("sequence") != place:
            return f"it says that it is record {body.get('sequence')}: it was moved or renumbered"
        return ""

    def _signature(self, public: bytes, one: tuple[int, str, str, str, Signed]) -> None:
        place, hash_, at, key, signed = one
        report = self._report
        if not signature_fits(public, signed.content, signed.signature):
            self._fault(place, place, "the checkpoint's signature is wrong: it was changed", at)
            return
        report.checkpoints += 1
        report.keys[key] = report.keys.get(key, 0) + 1
        if place > report.last:
            self._beyond = max(self._beyond, (place, at))
        elif self._hashes.get(place) == hash_:
            report.covered = max(report.covered, place)
        elif not any(fault.last > report.covered and fault.first <= place for fault in report.faults):
            first = report.covered + 1
            span = f"records {first} to {place}" if first < place else f"record {place}"
            self._fault(
                first, place, f"{span} are not those that the checkpoint of {at} signed: changed, hashes and all"
            )

    def _missing(self, first: int, last: int, why: str) -> None:
        span = f"records {first} to {last} are missing" if first < last else f"record {first} is missing"
        self._fault(first, last, span + (f" ({why})" if why else ""))

    def _fault(self, first: int, last: int, what: str, time: str | None = None) -> None:
        if len(self._report.faults) < MOST:
            self._report.faults.append(Fault(first, last, self._time if time is None else time, what))
