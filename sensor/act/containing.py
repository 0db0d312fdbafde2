"""An order to freeze, isolate or release."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rubicon.v1 import response_pb2, ttl
from sensor.act.kill import Order
from sensor.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Containing(Order):
    """Who asks, why, how and for how long."""

    ttl_ns: int = 0
    """After which time it ends by itself; 0 for never."""
    isolation: response_pb2.Isolation = field(default_factory=response_pb2.Isolation)

    def expiry(self) -> int:
        """When it ends, boot-time nanoseconds; 0 for never.

        Raises:
            InvalidArgument: as rubicon.v1.ttl says.
        """
        if not self.ttl_ns:
            return 0
        try:
            return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + ttl.checked(self.ttl_ns)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
