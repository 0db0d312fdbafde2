"""Between what policy wants and what is carried out: a rule stops no more agents in a minute than it may.

A rule that is wrong must not empty a cluster before a person has seen it. What is beyond the limit waits its turn, in
the order in which it was wanted, and is said loudly: in the log, in its alerts, in coverage and so in `rubicon doctor`.
Nothing is dropped but what has become pointless, because the agent has ended. What waits is not stored as a response,
so a restarted plane wants it again (pipeline.restore), with the same id, and its turn is counted from what is stored.

The limit counts by the plane's clock, not by the events': a host that was away for an hour brings an hour of alerts in
a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from controlplane import logs
from controlplane.model import ResponseWanted
from controlplane.policy.rules import WORDS, Rule
from controlplane.policy.turns import Turns
from rubicon.v1 import coverage_pb2

_log = logs.get("policy")
MINUTE = 60.0
REMEMBERED = 3600.0
"""Seconds for which coverage names a rule that held something back."""


@dataclass(slots=True)
class _Line:
    """What of one rule waits."""

    waiting: deque[ResponseWanted] = field(default_factory=deque)
    held: int = 0
    """Since the plane started."""
    most: int = 0
    last: float = 0.0
    """When something was held back last."""
    server: asyncio.Task[None] | None = None


class Gate:
    """One for the plane; for the event loop's thread."""

    def __init__(
        self,
        carry_out: Callable[[ResponseWanted], Awaitable[None]],
        waits: Callable[[ResponseWanted, str], None],
        drops: Callable[[ResponseWanted], None],
        alive: Callable[[str], bool],
        window: float = MINUTE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            carry_out: does a response.
            waits: is told why a response waits, and with an empty text when it is its turn.
            drops: is told that a response which waited is not wanted any more.
            alive: whether an agent has not ended.
            window: seconds of what a rule calls a minute.
            clock: seconds, never going back.
        """
        self._carry_out = carry_out
        self._waits = waits
        self._drops = drops
        self._alive = alive
        self._clock = clock
        self._turns = Turns(window)
        self._lines: dict[str, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def remember(self, stopped: Iterable[tuple[str, str, float]]) -> None:
        """After a restart: (rule, agent, seconds ago) of what was carried out lately, oldest first."""
        for rule, agent_id, ago in stopped:
            self._turns.take(rule, agent_id, self._clock() - max(0.0, ago))

    async def __call__(self, wanted: ResponseWanted) -> None:
        """Carry it out, or let it wait and return.

        Raises:
            As `carry_out`.
        """
        if wanted.max_agents_per_minute:
            line = self._lines.get(wanted.rule)
            pause = self._opens(wanted, wanted.max_agents_per_minute)
            others = line is not None and line.waiting and not self._turns.counts(wanted.rule, wanted.agent_id)
            if pause > 0 or others:
                self._hold(wanted)
                return
            self._turns.take(wanted.rule, wanted.agent_id, self._clock())
        await self._carry_out(wanted)

    def take(self, rules: Iterable[Rule]) -> None:
        """Other rules are in force: what waits for one that is none of them, or only says things now, is let go."""
        limits = {rule.name: rule.max_agents_per_minute for rule in rules if rule.enforce}
        for name, line in self._lines.items():
            if line.server is not None:
                line.server.cancel()
                line.server = None
            if name in limits:
                line.most = limits[name]
                if line.waiting:
                    line.server = self._start(self._serve(line))
                continue
            while line.waiting:
                wanted = line.waiting.popleft()
                _log.warning(
                    "no longer wanted: no rule says so", rule=name, agent=wanted.agent_id, alert=wanted.alert_id
                )
                self._drops(wanted)

    def counts(self, rule: str) -> tuple[int, int]:
        """How many agents wait their turn by this rule, and were held back since the plane started."""
        line = self._lines.get(rule)
        return (len(line.waiting), line.held) if line is not None else (0, 0)

    def facts(self) -> list[coverage_pb2.CoverageFact]:
        """Rules that hold something back now, or did in the last hour, to be listed with a host's coverage."""
        now = self._clock()
        return [
            coverage_pb2.CoverageFact(
                fact=f"rule {name}",
                mechanism="policy",
                state=coverage_pb2.COVERAGE_STATE_PARTIAL,
                missing=f"stops at most {line.most} agents a minute: {len(line.waiting)} wait their turn, {line.held} "
                "were held back since the plane started; see 'rubicon alerts', and 'rubicon kill' for one at once",
            )
            for name, line in sorted(self._lines.items())
            if line.waiting or now - line.last < REMEMBERED
        ]

    async def stop(self) -> None:
        """The plane stops: what waits is wanted again after a restart."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _opens(self, wanted: ResponseWanted, most: int) -> float:
        return self._turns.opens(wanted.rule, wanted.agent_id, most, self._clock())

    def _hold(self, wanted: ResponseWanted) -> None:
        line = self._lines.setdefault(wanted.rule, _Line())
        line.waiting.append(wanted)
        line.held += 1
        line.most = wanted.max_agents_per_minute
        line.last = self._clock()
        word = WORDS[wanted.action]
        _log.error(
            "held back: the rule has stopped as many agents as it may in a minute",
            rule=wanted.rule,
            most=line.most,
            action=word,
            agent=wanted.agent_id,
            alert=wanted.alert_id,
            reason=wanted.reason,
            waiting=len(line.waiting),
        )
        self._waits(wanted, f"{word} held back: rule '{wanted.rule}' stops at most {line.most} agents a minute")
        if line.server is None or line.server.done():
            line.server = self._start(self._serve(line))

    async def _serve(self, line: _Line) -> None:
        while line.waiting:
            wanted = line.waiting[0]
            if not self._alive(wanted.agent_id):
                line.waiting.popleft()
                _log.info("no longer wanted: the agent has ended", agent=wanted.agent_id, alert=wanted.alert_id)
                continue
            pause = self._opens(wanted, line.most)
            if pause > 0:
                await asyncio.sleep(pause)
                continue
            line.waiting.popleft()
            self._turns.take(wanted.rule, wanted.agent_id, self._clock())
            self._waits(wanted, "")
            self._start(self._late(wanted))

    async def _late(self, wanted: ResponseWanted) -> None:
        try:
            await self._carry_out(wanted)
        except Exception:  # noqa: BLE001 - as in ingest/intake.py: the next one has its turn all the same
            _log.exception("response failed", agent=wanted.agent_id, response=wanted.id)

    def _start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
