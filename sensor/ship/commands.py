"""Commands from the plane: each runs as a task of its own, so that a slow kill never holds up batches or the next
command."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

import structlog

from rubicon.v1 import sensor_service_pb2
from sensor.errors import SensorError

Interim = Callable[[sensor_service_pb2.CommandResult], None]
"""Takes what is to be said of a command before its result."""
Handler = Callable[[sensor_service_pb2.Command, Interim], Awaitable[sensor_service_pb2.CommandResult]]
REMEMBERED = 1024
DOUBT_SECONDS = 30.0
"""A result that was written longer ago than this before a reconnect has arrived, or nobody waits for it any more."""
_log = structlog.get_logger(part="uplink")


class Commands:
    """Runs commands and keeps their results until they are sent, also over a reconnect.

    A command that comes again, after a reconnect, is not run again: its result is sent again. What is only remembered is kept
    as bytes: a message takes ten times as much.
    """

    def __init__(self, handler: Handler, on_result: Callable[[], None]) -> None:
        self._handler = handler
        self._on_result = on_result
        self._known: OrderedDict[str, bytes | None] = OrderedDict()
        self._unsent: OrderedDict[str, sensor_service_pb2.CommandResult] = OrderedDict()
        self._doubtful: deque[tuple[float, bytes]] = deque(maxlen=REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, command: sensor_service_pb2.Command) -> None:
        """Run it, unless it is known already."""
        if command.id in self._known:
            result = self._known[command.id]
            if result is not None:
                self._put(sensor_service_pb2.CommandResult.FromString(result))
            return
        self._known[command.id] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        task = asyncio.create_task(self._run(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, command: sensor_service_pb2.Command) -> None:
        try:
            result = await self._handler(command, self._put)
        except SensorError as error:
            result = sensor_service_pb2.CommandResult(error_reason=error.reason, error=str(error))
        except Exception as error:  # noqa: BLE001  # a defect in one command is its result, not the uplink's end
            _log.error("command_failed", command=command.id, error=repr(error), exc_info=True)
            result = sensor_service_pb2.CommandResult(error_reason="INTERNAL", error=f"defect in the sensor: {error!r}")
        result.id = command.id
        if command.id in self._known:
            self._known[command.id] = result.SerializeToString()
        self._put(result)

    def _put(self, result: sensor_service_pb2.CommandResult) -> None:
        self._unsent[result.id] = result
        while len(self._unsent) > REMEMBERED:
            self._unsent.popitem(last=False)
        self._on_result()

    def peek(self) -> sensor_service_pb2.CommandResult | None:
        """The oldest result that was not sent, or None."""
        return next(iter(self._unsent.values()), None)

    def sent(self, result: sensor_service_pb2.CommandResult) -> None:
        """It was written to a stream. Whether it arrived nobody says: see `reconnected`."""
        if self._unsent.get(result.id) is result:  # while an interim one was written, the last word may have come
            del self._unsent[result.id]
        if not result.interim:
            self._doubtful.append((time.monotonic(), result.SerializeToString()))

    def reconnected(self) -> None:
        """A new stream stands: what was written shortly before the old one broke is sent again; the plane ignores
        doubles."""
        now = time.monotonic()
        for when, data in self._doubtful:
            if now - when < DOUBT_SECONDS:
                result = sensor_service_pb2.CommandResult.FromString(data)
                self._unsent[result.id] = result
        self._doubtful.clear()

    async def close(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
