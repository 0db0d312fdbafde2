"""Batches that an earlier boot of this host left: each boot's go on a stream that names that boot, before the present
one's.

In this order the plane hears of boots as they were: an earlier boot's agents are told to the end before it learns that
the host has started anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from rubicon.v1 import event_pb2, sensor_service_pb2
from sensor.errors import SensorError, SpoolError
from sensor.ship.backoff import Backoff
from sensor.ship.commands import Interim
from sensor.ship.spool import Spool
from sensor.ship.uplink import Uplink

EARLIER_BYTES = 256 << 20
"""Bytes that all earlier boots together may keep on disk: reboots without a plane must not fill it."""
TRIMMED_BYTES = 1 << 20
"""What is left of a boot that was trimmed: its newest batches, and the exact loss."""
_log = structlog.get_logger(part="uplink")


async def ship_earlier_boots(
    spool: Spool,
    target: str,
    hello: Callable[[], sensor_service_pb2.Hello],
    token: Callable[[str], str],
    stamp: Callable[[event_pb2.Event], None],
    backoff: Backoff | None = None,
) -> None:
    """Ship and delete every earlier boot's spool; wait for the plane as long as it takes.

    A boot that the plane refuses for good stays on disk, is said so, and does not hold up the others.

    Args:
        spool: the present boot's.
        target: as for Uplink.
        hello: the present hello; its boot id is replaced.
        token: a token for a boot id.
        stamp: as for Spool.
        backoff: between attempts.
    """
    _trim(spool.earlier_boots(), stamp)
    for boot_id, folder in spool.earlier_boots():

        def named(boot_id: str = boot_id) -> sensor_service_pb2.Hello:
            earlier = hello()
            earlier.boot_id = boot_id
            return earlier

        try:
            left = Spool(folder, stamp, boot_id=boot_id)
        except SpoolError as error:
            _log.error("earlier_boot_unreadable", boot_id=boot_id, error=str(error))
            continue
        try:
            uplink = Uplink(target, left, named, _refuse, token=partial(token, boot_id), backoff=backoff)
            shipped = await uplink.run_until_empty()
        finally:
            left.close()
        if shipped:
            shutil.rmtree(folder, ignore_errors=True)
            _log.info("earlier_boot_shipped", boot_id=boot_id)
        else:
            _log.error(
                "earlier_boot_refused",
                boot_id=boot_id,
                reason=uplink.last_error,
                path=str(folder),
                action="kept; it is tried again when the sensor starts",
            )


def _trim(boots: list[tuple[str, Path]], stamp: Callable[[event_pb2.Event], None]) -> None:
    """Drop from the oldest boots until all of them stay below the limit; each keeps the report of what it lost."""
    sizes = {boot_id: sum(path.stat().st_size for path in folder.glob("*.segment")) for boot_id, folder in boots}
    total = sum(sizes.values())
    for boot_id, folder in boots:
        if total <= EARLIER_BYTES:
            return
        try:
            left = Spool(folder, stamp, cap_bytes=TRIMMED_BYTES, boot_id=boot_id)
        except SpoolError as error:
            _log.error("earlier_boot_unreadable", boot_id=boot_id, error=str(error))
            continue
        try:
            # Room is made when something is appended; a batch without events says nothing.
            left.append(sensor_service_pb2.Batch())
            total -= max(0, sizes[boot_id] - left.status().bytes)
        except SpoolError as error:
            _log.error("earlier_boot_untrimmed", boot_id=boot_id, error=str(error))
        finally:
            left.close()


async def _refuse(command: sensor_service_pb2.Command, _: Interim) -> sensor_service_pb2.CommandResult:
    raise SensorError("this stream only ships what an earlier boot left: ask again in a moment")
