"""Asking for a response of many targets: as they are done, past failures, and with an answer to Ctrl-C.

What was asked for is carried out whether anybody waits or not. So the first Ctrl-C begins nothing more and waits for what is
under way, to say what became of it; the second ends at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from rubicon.cli.interrupt import told
from rubicon.cli.respond.whom import Whom
from rubicon.client.errors import RubiconError
from rubicon.client.records.response import Response

AT_ONCE = 16
"""Targets asked of at the same time: a host carries out four, and there may be many hosts."""
NOT_ASKED = "not asked: interrupted"
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target."""

    whom: Whom
    response: Response | None = None
    error: str = ""

    @property
    def asked(self) -> bool:
        """It was asked for; else Ctrl-C came first."""
        return self.error != NOT_ASKED


class Many:
    """One asking, of each target once."""

    def __init__(self, targets: Sequence[Whom], ask: Callable[[Whom], Response]) -> None:
        self._targets = targets
        self._ask = ask
        self.interrupted = False
        """Ctrl-C came."""

    def outcomes(self) -> Iterator[Outcome]:
        """Each target's, as it is done; those that were not asked at the end. A failure is an outcome like another."""
        pool = ThreadPoolExecutor(AT_ONCE, "respond")
        try:
            with told(self._interrupt):
                waiting = {pool.submit(self._one, whom): whom for whom in self._targets}
                while waiting:
                    done, _ = wait(waiting, _LOOK_S, FIRST_COMPLETED)
                    if self.interrupted:
                        done |= {future for future in waiting if future.cancel()}
                    yield from self._taken(done, waiting)
        finally:
            pool.shutdown(
                cancel_futures=True
            )  # the reader went away: what was asked for is finished, the rest not begun

    @staticmethod
    def _taken(done: set[Future[Outcome]], waiting: dict[Future[Outcome], Whom]) -> Iterator[Outcome]:
        for future in sorted(done, key=Future.cancelled):
            whom = waiting.pop(future, None)
            if whom:
                yield Outcome(whom, error=NOT_ASKED) if future.cancelled() else future.result()

    def _one(self, whom: Whom) -> Outcome:
        try:
            return Outcome(whom, self._ask(whom))
        except RubiconError as error:
            return Outcome(whom, error=error.message)

    def _interrupt(self) -> None:
        self.interrupted = True
