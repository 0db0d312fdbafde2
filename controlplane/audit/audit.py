"""Writes the audit: every action before it is done and what became of it, chained, and signed from time to time.

A place in the chain is given on the event loop, in the order in which the store's one writer commits. So the chain has
no gaps, a record is durable before any later write, and one that has to wait for the disk (locked, full) holds up nothing
but itself: it waits in the writer's queue and is written when that can be. An action that was done is never undone for its
record. What still waits when the plane stops is kept in a file and written at the next start.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable
from contextvars import ContextVar

from controlplane import logs
from controlplane.audit import leftover
from controlplane.audit.flood import Flood
from controlplane.audit.notary import Notary
from controlplane.audit.record import NOTED, REFUSED, REPORTED, REQUESTED, RESULT, Deed, content, row
from controlplane.errors import StoreUnavailable
from controlplane.settings import AuditSettings
from controlplane.store import schema
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1.audit_chain import EXPORT, KEY, Signed, digest, parse, signature_fits
from rubicon.v1.tokens import Claims

caller: ContextVar[Claims] = ContextVar("caller")
"""Who makes the call that runs in this context, as attested; set by api/guard.py."""
OWN = "plane"
"""Identity of what the plane notes itself."""

_LATEST = 100
"""Checkpoints that are looked at, at a start; `verify` looks at all."""
_log = logs.get("audit")


class Audit:
    """For the event loop's thread. `start` once, `stop` before the store is closed."""

    def __init__(
        self,
        store: Store,
        notary: Notary,
        settings: AuditSettings | None = None,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Take the chain up where it ends.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        self._store = store
        self._settings = settings or AuditSettings()
        self._now = wall_clock
        self.notary = notary
        self._sequence, self._hash = store.audit.head()
        self._durable = (self._sequence, self._hash)
        self._signed = 0
        self._waiting: dict[asyncio.Future[int], bytes] = {}
        """Not durable yet; empty for what the sensor tells again when it is not acknowledged."""
        self._lost = 0
        self._flood = Flood()
        self._due = asyncio.Event()
        self._turn = asyncio.Lock()
        self._signer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Note what is new or wrong since the plane was last here, and begin to sign."""
        stored, kept = self._store.audit.checkpoints(), self.notary.read()
        self._compare(stored, kept)
        if self.notary.fresh:
            public = base64.b64encode(self.notary.public).decode()
            self.note(Deed(KEY, self.notary.fingerprint, reason="a new key signs this audit"), detail=public)
            if stored or kept:
                _log.warning("the audit's key was gone: a new one was made", key=self.notary.fingerprint)
        waited = leftover.read(self.notary.folder)
        for place, data in waited:
            known = self._store.audit.record(place)
            if known is None or bytes(known.body) != data:
                self._again(data)
        self._signer = asyncio.create_task(self._sign(bool(waited)), name="audit-sign")

    def requested(self, identity: str, deed: Deed) -> int:
        """Before an action; returns the record's place, 0 when it could not be taken (the log has it)."""
        return self._append(REQUESTED, identity, deed)

    def result(self, identity: str, deed: Deed, request: int, outcome: str, detail: str = "") -> int:
        """What became of a request (0: of none that is known)."""
        return self._append(RESULT, identity, deed, request, outcome, detail)

    def refused(self, identity: str, deed: Deed, outcome: str, detail: str = "") -> int:
        """A call that was not let through: nothing was begun. In a flood of them most are only counted (0)."""
        self._count()
        if self._flood.counts(identity, deed, outcome):
            return 0
        return self._append(REFUSED, identity, deed, 0, outcome, detail)

    def reported(self, identity: str, deed: Deed, detail: str, write: Write) -> int:
        """What was done at a sensor; durable together with the event that says so, in a write that is submitted next."""
        return self._append(REPORTED, identity, deed, 0, "ok", detail, write)

    def note(self, deed: Deed, outcome: str = "ok", detail: str = "") -> int:
        """What the plane has to say itself."""
        return self._append(NOTED, OWN, deed, 0, outcome, detail)

    async def settle(self, timeout: float = 5.0) -> bool:
        """Wait until everything taken so far is durable; False when the disk does not take it in time (it stays queued)."""
        waiting = list(self._waiting)
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=timeout)
            return not late
        return True

    async def checkpoint(self) -> Signed | None:
        """Sign what is durable, unless that is done; None when there is nothing, or the file does not take it."""
        async with self._turn:
            place, hash_ = self._durable
            if place <= self._signed:
                return None
            signed = self.notary.sign(place, hash_, self._now())
            try:
                await asyncio.to_thread(self.notary.append, signed)
                write = Write()
                write.rows.put(
                    schema.audit_checkpoints,
                    {"sequence": place, "body": signed.content, "signature": signed.signature},
                )
                await asyncio.wait({self._store.writer.submit(write)}, timeout=1.0)
            except (OSError, StoreUnavailable) as error:
                _log.error("checkpoint not kept", sequence=place, error=str(error))
                return None
            self._signed = place
            return signed

    async def seal(self) -> tuple[Signed, int]:
        """Sign all that is durable; returns a signed end for an export, and its place."""
        await self.settle()
        await self.checkpoint()
        place, hash_ = self._durable
        return self.notary.sign(place, hash_, self._now(), EXPORT), place

    async def stop(self) -> None:
        """Sign what there is; what cannot be written now is kept in a file for the next start."""
        if self._signer is not None:
            self._signer.cancel()
            await asyncio.gather(self._signer, return_exceptions=True)
        await self.settle(self._settings.stop_grace)
        await self.checkpoint()
        late = [data for data in self._waiting.values() if data]
        if late:
            _log.error("audit records wait for the next start", records=len(late))
        await asyncio.to_thread(leftover.write, self.notary.folder, late)

    def _append(
        self,
        phase: str,
        identity: str,
        deed: Deed,
        request: int = 0,
        outcome: str = "",
        detail: str = "",
        write: Write | None = None,
    ) -> int:
        facts = {"phase": phase, "identity": identity, "action": deed.action, "target": deed.target, "outcome": outcome}
        _log.info("audit", **facts, reason=deed.reason, response=deed.response_id, alert=deed.alert_id, detail=detail)
        if len(self._waiting) >= self._settings.pending:
            self._lost += 1
            _log.error("audit record lost: too many wait for the disk", **facts)
            return 0
        if self._lost:
            detail = f"{detail}; {self._lost} records before this one are only in the plane's log".lstrip("; ")
        sequence = self._sequence + 1
        data = content(
            sequence, self._hash, self._now(), phase, identity, deed, request=request, outcome=outcome, detail=detail
        )
        return self._submit(data, write)

    def _submit(self, data: bytes, write: Write | None = None) -> int:
        values = row(data)
        sequence = int(values["sequence"])
        together = write is not None
        write = write or Write()
        write.rows.put(schema.audit_records, values)
        if together:
            # Submitted by whoever made it, before anything else is: keep the place, watch the future that it will get.
            asyncio.get_running_loop().call_soon(self._follow, write, sequence, digest(data), b"")
        else:
            try:
                self._store.writer.submit(write)
            except StoreUnavailable as error:
                _log.error("audit record lost", error=str(error), record=data.decode())
                return 0
            self._follow(write, sequence, digest(data), data)
        self._lost = 0
        self._sequence, self._hash = sequence, digest(data)
        return sequence

    def _follow(self, write: Write, sequence: int, hash_: str, data: bytes) -> None:
        if write.done is None:
            return
        self._waiting[write.done] = data

        def durable(future: asyncio.Future[int]) -> None:
            if not future.cancelled() and future.exception() is not None:
                return  # the writer has died: the record waits for the next start
            self._waiting.pop(future, None)
            if not future.cancelled() and sequence > self._durable[0]:
                self._durable = (sequence, hash_)
                if sequence - self._signed >= self._settings.checkpoint_records:
                    self._due.set()

        write.done.add_done_callback(durable)

    async def _sign(self, waited: bool) -> None:
        if waited and await self.settle():
            await asyncio.to_thread(leftover.clear, self.notary.folder)
        while True:
            with contextlib.suppress(TimeoutError):  # not wait_for: in Python 3.11 it can swallow a cancellation
                async with asyncio.timeout(self._settings.checkpoint_after):
                    await self._due.wait()
            self._due.clear()
            self._count()
            await self.checkpoint()

    def _count(self) -> None:
        for identity, deed, outcome, words in self._flood.over():
            self._append(REFUSED, identity, deed, 0, outcome, words)

    def _again(self, data: bytes) -> None:
        """Append a record that did not become durable before the plane stopped, at a new place."""
        body = parse(data)
        text = {name: str(value) for name, value in body.items()}
        deed = Deed(text["action"], text["target"], text["agent"], text["reason"], text["alert"], text["response"])
        detail = f"{text['detail']}; of {text['time']}, written at the next start".lstrip("; ")
        self._append(text["phase"], text["identity"], deed, 0, text["outcome"], detail)

    def _compare(self, stored: list[Signed], kept: list[Signed]) -> None:
        """Hold the table's end against the last checkpoint; go on from what was signed where it is cut."""
        if stored and not kept:
            self.note(Deed("damage", "audit"), "damaged", f"{self.notary.file.name} is gone: it begins anew")
        place, hash_ = max(map(self._own, [*stored[-_LATEST:], *kept[-_LATEST:]]), default=(0, ""))
        if not place:
            return
        self._signed = place
        there = self._store.audit.record(place)
        what = ""
        if place > self._sequence:
            what = f"records {self._sequence + 1} to {place} are missing"
            self._sequence, self._hash = place, hash_
        elif there is None or bytes(there.hash).hex() != hash_:
            what = f"record {place} is not the one that was signed"
        if what:
            _log.error("the audit was changed while the plane was away: see 'rubicon audit verify'", what=what)
            self.note(Deed("damage", "audit"), "damaged", what)

    def _own(self, signed: Signed) -> tuple[int, str]:
        """(place, hash) of a checkpoint of this key; (0, "") where it is none."""
        with contextlib.suppress(ValueError, KeyError):
            body = parse(signed.content)
            if signature_fits(self.notary.public, signed.content, signed.signature):
                return int(body["sequence"]), str(body["hash"])
        return 0, ""
