"""What is handed to the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.store.rows import Rows
from rubicon.v1 import alert_pb2, event_pb2, response_pb2


@dataclass(slots=True, eq=False)
class Write:
    """What must become durable together.

    `boot` 0 and no events is a change of entities alone. `acknowledged` is the sensor's batch sequence, 0 for none.
    `alerts` and `responses` are what watchers are told after the commit. `patient` is what nobody waits for: it may stay in
    the queue for a moment, so that more goes into one transaction.
    """

    boot: int = 0
    clock_offset_ns: int = 0
    acknowledged: int = 0
    events: Sequence[event_pb2.Event] = ()
    rows: Rows = field(default_factory=Rows)
    alerts: Sequence[alert_pb2.Alert] = ()
    responses: Sequence[response_pb2.Response] = ()
    patient: bool = False
    done: asyncio.Future[int] | None = None
    """Set by the writer: becomes the position of the first event once durable, or StoreUnavailable if the writer died."""
