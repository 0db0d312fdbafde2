"""The four responses, for whatever is a target of theirs, sync and asyncio: what a call gives is the client's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from rubicon.client import requests
from rubicon.v1 import response_pb2

R = TypeVar("R", covariant=True)
"""Response, or something that can be awaited for one."""


class Caller(Protocol[R]):
    """Client, or AsyncClient."""

    def call(self, call: requests.Call[Any]) -> R:
        """Make one call."""
        ...


class Responding(Generic[R]):
    """What an agent and a process have in common: they can be killed, frozen, isolated and released."""

    __slots__ = ()

    @property
    def _caller(self) -> Caller[R]:
        raise NotImplementedError

    @property
    def _target(self) -> response_pb2.Target:
        raise NotImplementedError

    def kill(self, *, reason: str = "", force: bool = False, dry_run: bool = False) -> R:
        """End every process of it; returns when that is verified or has failed.

        Args:
            force: also when it holds the caller itself.

        Raises:
            TargetProtected: it holds the caller, and it is not forced.
            ProcessNotFound: of a process: no agent has it.
        """
        return self._caller.call(requests.kill(self._target, reason, force, dry_run))

    def freeze(self, *, reason: str = "", ttl: float | None = None, force: bool = False, dry_run: bool = False) -> R:
        """Stop every process of it until `release`, or until `ttl` seconds are over; returns when none runs.

        Raises:
            AgentEnded: it has ended.
            As `kill`.
        """
        return self._caller.call(requests.freeze(self._target, reason, force, ttl, dry_run))

    def isolate(
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
    ) -> R:
        """Take its network until `release`, or until `ttl` seconds are over; returns when that is in force.

        Args:
            allow: destinations that stay reachable: "10.0.0.0/8:443", "[2001:db8::/32]:443", or a network alone.
            allow_loopback: loopback addresses stay reachable.
            unix: AF_UNIX connects and datagrams are refused too, where the kernel can.
            strict: kill holders of sockets that no hook governs (packet, vsock …) instead of reporting them.

        Raises:
            As `freeze`, and InvalidArgument for the allow-list.
        """
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
        return self._caller.call(call)

    def release(self, *, reason: str = "", dry_run: bool = False) -> R:
        """Undo freeze and isolate; destroyed connections stay destroyed."""
        return self._caller.call(requests.release(self._target, reason, dry_run))


@dataclass(frozen=True, slots=True)
class OneProcess(Responding[R]):
    """A process of an agent, with all that descend from it: `client.process`."""

    client: Caller[R] = field(repr=False, compare=False)
    pid: int
    start_time: int = 0
    """Nanoseconds since boot, so that a reused pid is no danger; 0 for the living process."""
    host: str = ""
    """Empty where only one host has it."""
    boot_id: str = ""

    @property
    def _caller(self) -> Caller[R]:
        return self.client

    @property
    def _target(self) -> response_pb2.Target:
        return requests.process_target(self.pid, self.start_time, self.host, self.boot_id)
