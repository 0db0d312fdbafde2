"""Sees to it that a call that changes something is in the audit: before it is carried out, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from controlplane.api import acts
from controlplane.audit.audit import Audit
from controlplane.audit.follow import Follower
from controlplane.audit.record import Deed
from controlplane.errors import Internal, PlaneError
from controlplane.ingest.precedence import Precedence
from controlplane.store.store import Store

WAIT = 1.0
"""Seconds that an action waits for the record that it is about to be done; after that it is done, and the record follows."""


class Witness:
    """For the event loop's thread."""

    def __init__(self, store: Store, audit: Audit, follower: Follower, precedence: Precedence) -> None:
        self._precedence = precedence
        self._store = store
        self._audit = audit
        self._follower = follower
        self._running: set[asyncio.Task[Any]] = set()

    async def call(
        self,
        method: str,
        identity: str,
        request: Any,
        allowed: Callable[[], Awaitable[None]],
        carry_out: Callable[[], Awaitable[Any]],
    ) -> Any:
        """Carry a call out, and audit it; a caller that hangs up meanwhile stops neither.

        Raises:
            Whatever `allowed` and `carry_out` raise.
        """
        work = self._stop if method in acts.RESPONSES else self._call
        task = asyncio.create_task(work(method, identity, request, allowed, carry_out), name=f"call {method}")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def secrets(self, method: str, identity: str, request: Any, refusal: PlaneError | None) -> None:
        """Somebody saw what is masked, or was not let."""
        asked = acts.secrets(method, request)
        if refusal is None:
            self._audit.result(identity, asked, 0, "ok")
        else:
            self._audit.refused(identity, asked, refusal.reason, refusal.message)

    def stranger(self, method: str, refusal: PlaneError) -> None:
        """A call that changes something came without a token that is good."""
        self._audit.refused("nobody that is known", Deed(acts.ACTIONS[method], ""), refusal.reason, refusal.message)

    async def stop(self, grace: float) -> None:
        """The plane stops: whoever still waits gets `grace` seconds."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _stop(self, *call: Any) -> Any:
        with self._precedence.stop():
            return await self._call(*call)

    async def _call(
        self,
        method: str,
        identity: str,
        request: Any,
        allowed: Callable[[], Awaitable[None]],
        carry_out: Callable[[], Awaitable[Any]],
    ) -> Any:
        asked = await acts.deed(self._store, method, request)
        try:
            await allowed()
        except PlaneError as error:
            self._audit.refused(identity, asked, error.reason, error.message)
            raise
        place = self._audit.requested(identity, asked)
        if method not in acts.RESPONSES:
            await self._audit.settle(WAIT)
        try:
            answer = await carry_out()
        except Exception as error:
            known = error if isinstance(error, PlaneError) else Internal(type(error).__name__)
            self._audit.result(identity, asked, place, known.reason, known.message)
            raise
        if method not in acts.RESPONSES:
            self._audit.result(identity, acts.done(asked, answer), place, "ok")
        elif answer.response.dry_run:
            words = f"{len(answer.response.members)} processes would be touched"
            self._audit.result(identity, asked, place, "dry run", words)
        else:
            self._follower.answered(identity, asked, place, answer.response)
        return answer

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone
