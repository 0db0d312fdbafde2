"""As responding.py, for asyncio; there the methods are described."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rubicon.client import requests
from rubicon.client.records.response import Response
from rubicon.v1 import response_pb2

if TYPE_CHECKING:
    from rubicon.client.aio import AsyncClient


class AsyncResponding:
    """As Responding."""

    __slots__ = ()
    client: AsyncClient

    @property
    def _target(self) -> response_pb2.Target:
        """Whom it is about."""
        raise NotImplementedError

    async def kill(self, *, reason: str = "", force: bool = False, dry_run: bool = False) -> Response:
        """End every process of it."""
        return await self.client.call(requests.kill(self._target, reason, force, dry_run))

    async def freeze(
        self, *, reason: str = "", ttl: float | None = None, force: bool = False, dry_run: bool = False
    ) -> Response:
        """Stop every process of it."""
        return await self.client.call(requests.freeze(self._target, reason, force, ttl, dry_run))

    async def isolate(
        self,
        *,
        reason: str = "",
        ttl: float | None = None,
        allow: Iterable[str] = (),
        allow_loopback: bool = False,
        unix: bool = False,
        strict: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> Response:
        """Take its network."""
        call = requests.isolate(
            self._target,
            reason,
            force,
            ttl,
            dry_run,
            allow=allow,
            allow_loopback=allow_loopback,
            unix=unix,
            strict=strict,
        )
        return await self.client.call(call)

    async def release(self, *, reason: str = "", dry_run: bool = False) -> Response:
        """Undo freeze and isolate."""
        return await self.client.call(requests.release(self._target, reason, dry_run))


@dataclass(frozen=True, slots=True)
class AsyncOneProcess(AsyncResponding):
    """As OneProcess."""

    client: AsyncClient = field(repr=False, compare=False)
    pid: int
    start_time: int = 0
    host: str = ""
    boot_id: str = ""

    @property
    def _target(self) -> response_pb2.Target:
        """Whom it is about."""
        return requests.process_target(self.pid, self.start_time, self.host, self.boot_id)
