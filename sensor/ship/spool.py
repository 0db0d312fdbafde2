"""Batches on disk until the plane has made them durable.

Append-only segment files; a batch is synced before `append` returns, and only then may the ring be advanced. At its cap
the spool drops the *oldest* segment and reports exactly what went: what an agent does now can still be stopped, what it
did before the disk filled cannot. The report, the mark up to where was dropped, and the counters that the collector
keeps are written in one entry, so a crash at any point neither repeats nor forgets a loss.

Dropping leaves a gap in the batch sequence. A batch that was sent but not yet acknowledged counts as lost when it is
dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from rubicon.v1 import event_pb2, sensor_service_pb2
from sensor.errors import SpoolError, SpoolFull, SpoolLocked
from sensor.ship import batch as batches
from sensor.ship.reader import SpoolReader
from sensor.ship.recovery import NOTE, claim, earlier_boots, recover
from sensor.ship.segment import Entry, Segment, encode, write_all

CAP_BYTES = 256 << 20
"""Unless RUBICON_SENSOR_SPOOL_CAP_BYTES says otherwise (sensor/settings.py has the same)."""
SEGMENT_BYTES = 4 << 20
_log = structlog.get_logger(part="spool")


class SpoolStatus(NamedTuple):
    """What waits: batches and bytes on disk, the oldest and newest sequence, records dropped since this sensor
    started."""

    batches: int
    bytes: int
    first_sequence: int
    last_sequence: int
    dropped: int


class _Dropped(NamedTuple):
    report: sensor_service_pb2.Batch
    through: int
    records: int


class Spool:
    """The spool of one boot of one host. Everything may be called from any thread."""

    def __init__(
        self,
        directory: Path,
        stamp: Callable[[event_pb2.Event], None],
        cap_bytes: int = CAP_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        boot_id: str = "",
    ) -> None:
        """Open, or make, the spool in a folder and cut what a crash left half written.

        Args:
            directory: its folder, made 0700 when absent.
            stamp: gives an event of the sensor's own making its record id and time.
            cap_bytes: all segments together stay below this.
            segment_bytes: a segment is closed above this; never more than an eighth of the cap.
            boot_id: whose batches these are; the running kernel's boot unless given.

        Raises:
            SpoolLocked: another sensor has it open.
            SpoolError: the folder cannot be used.
        """
        self._directory = directory
        self._stamp = stamp
        self._cap = cap_bytes
        self._segment_bytes = min(segment_bytes, max(cap_bytes // 8, 4096))
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._appending = threading.Lock()
        self._fd = -1
        self._dropped = 0
        self._acknowledged = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(
                f"cannot use the spool folder {directory}: {error.strerror}; make it writable for root"
            ) from error
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_fd)
            raise SpoolLocked(f"another sensor uses the spool {directory}: stop it first ('rubicon down')") from None
        try:
            claim(directory, boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip())
            self._segments, self._ledger, self._dropped_through, self._next = recover(directory)
        except OSError as error:
            os.close(self._lock_fd)
            raise SpoolError(
                f"cannot read what is in {directory}: {error.strerror}; free space, or move it away"
            ) from error

    # -- writing -----------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> bytes:
        """The ledger that was last appended, also by an earlier sensor; empty when there is none."""
        return self._ledger

    def append(self, batch: sensor_service_pb2.Batch, ledger: bytes = b"") -> int:
        """As `append_all`, of one batch."""
        return self.append_all([batch], ledger)

    def append_all(self, batches: Sequence[sensor_service_pb2.Batch], ledger: bytes = b"") -> int:
        """Make batches durable with one sync, with the caller's ledger in the last one's entry when one is given; sets their
        sequences.

        Returns:
            The last sequence.

        Raises:
            SpoolFull: the disk refused; nothing was accepted and the same batches may be offered again.
        """
        with self._appending:
            sequence = self._append(batches, ledger)
        for listener in self._listeners:
            listener()
        return sequence

    def _append(self, new: Sequence[sensor_service_pb2.Batch], ledger: bytes) -> int:
        dropped = None
        entries: list[Entry] = []
        sequence = self._next
        try:
            doomed = self._doomed(sum(batch.ByteSize() + 64 for batch in new) + len(ledger))
            if doomed:
                dropped = self._drop_report(doomed)
                note = NOTE.pack(dropped.through) + (ledger or self._ledger)
                dropped.report.sequence = sequence
                entries.append(Entry(sequence, note, dropped.report.SerializeToString()))
                sequence += 1
            for batch in new:
                batch.sequence = sequence
                note = self._note(ledger) if ledger and not doomed and batch is new[-1] else b""
                entries.append(Entry(sequence, note, batch.SerializeToString()))
                sequence += 1
            self._write(entries)
        except OSError as error:
            raise SpoolFull(
                f"the spool cannot be written ({error.strerror}): free space on the disk of {self._directory}"
            ) from error
        self._next = sequence
        self._ledger = ledger or self._ledger
        if dropped is not None:
            self._dropped_through = dropped.through
            self._dropped += dropped.records
            self._forget(doomed)
            _log.warning(
                "spool_dropped_oldest",
                records=dropped.records,
                through_sequence=dropped.through,
                cap_bytes=self._cap,
                action="bring the plane back, or raise RUBICON_SENSOR_SPOOL_CAP_BYTES",
            )
        return sequence - 1

    def _write(self, entries: list[Entry]) -> None:
        data = b"".join(encode(entry) for entry in entries)
        active = self._segments[-1] if self._fd >= 0 else None
        if active is None or (active.batches and active.end + len(data) > self._segment_bytes):
            active = self._rotate()
        try:
            write_all(self._fd, data, active.end)
            os.fdatasync(self._fd)
        except OSError:
            # After a failed sync the kernel may have dropped the pages: the next batch starts a new file.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, active.end)
            self._close_active()
            raise
        with self._lock:
            for entry in entries:
                active.add(entry)
            active.end += len(data)

    def _rotate(self) -> Segment:
        """Begin a new file; it starts with all state, so that older ones may go."""
        state = self._dropped_through or self._ledger
        segment, fd = Segment.create(self._directory, self._next, self._note(self._ledger) if state else b"")
        self._close_active()
        with self._lock:
            # An empty one of the same number (made, and then the disk was full) was replaced.
            self._segments = [s for s in self._segments if s.path != segment.path]
            self._segments.append(segment)
            self._fd = fd
        return segment

    def _note(self, ledger: bytes) -> bytes:
        return NOTE.pack(self._dropped_through) + ledger

    def _close_active(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # -- the cap -----------------------------------------------------------------------------------------------------

    def _doomed(self, size: int) -> list[Segment]:
        """The oldest segments that must go so that `size` more bytes, and the report of the loss, stay below the
        cap."""
        with self._lock:
            total = sum(s.end for s in self._segments) + size
            if total <= self._cap:
                return []
            total += self._segment_bytes // 2
            doomed: list[Segment] = []
            for segment in self._segments:
                if total <= self._cap:
                    break
                doomed.append(segment)
                total -= segment.end
        if doomed and doomed[-1] is self._segments[-1]:
            self._close_active()
        return [s for s in doomed if s.batches]

    def _drop_report(self, doomed: list[Segment]) -> _Dropped:
        """What these segments lose, as a batch that says so and carries over what must not be lost."""
        data: list[bytes] = []
        for segment in doomed:
            fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                entries = segment.entries(fd, segment.end)
                data.extend(e.batch for e, _ in entries if e.batch and e.sequence > self._acknowledged)
            finally:
                os.close(fd)
        # Carrying over must not itself fill the spool.
        lost, kept = batches.split_lost(data, event_pb2.LOSS_REASON_SPOOL_FULL, self._segment_bytes // 2)
        report = self._report(lost, kept, batches.clock_offset(data))
        records = sum(count for (_, _, reason), count in lost.items() if reason == event_pb2.LOSS_REASON_SPOOL_FULL)
        return _Dropped(report, doomed[-1].last, records)

    def _report(
        self, lost: batches.Lost, kept: list[event_pb2.Event], clock_offset_ns: int
    ) -> sensor_service_pb2.Batch:
        report = sensor_service_pb2.Batch(events=kept, clock_offset_ns=clock_offset_ns)
        for event in batches.loss_events(lost):
            self._stamp(event)
            report.events.append(event)
        return report

    def _forget(self, gone: list[Segment]) -> None:
        with self._lock:
            self._segments = [s for s in self._segments if s not in gone]
        for segment in gone:
            segment.path.unlink(missing_ok=True)

    # -- reading and acknowledging -----------------------------------------------------------------------------------

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call this after every durable batch, in the thread that appended it."""
        self._listeners.append(listener)

    def reader(self, after: int = 0) -> SpoolReader:
        """A cursor over the durable batches with a higher sequence than `after`."""
        return SpoolReader(self.segment_with, after)

    def segment_with(self, sequence: int) -> Segment | None:
        """The first segment that holds this sequence or a later one."""
        with self._lock:
            for segment in self._segments:
                if segment.batches and segment.last >= sequence:
                    return segment
        return None

    def set_aside(self, sequence: int) -> None:
        """Give up on the oldest batch, which the plane will not take: keep it in a file, tell its records as
        undecodable.

        Raises:
            SpoolFull: the report could not be written; nothing has changed.
        """
        reader = self.reader(sequence - 1)
        found = reader.next()
        reader.close()
        if found is None or found[0] != sequence:
            return
        with contextlib.suppress(OSError):
            (self._directory / f"{sequence:020d}.refused").write_bytes(found[1])
        lost, _ = batches.split_lost([found[1]], event_pb2.LOSS_REASON_UNDECODABLE, 0)
        self.append(self._report(lost, [], batches.clock_offset([found[1]])))
        self.ack(sequence)
        _log.error(
            "spool_batch_set_aside",
            sequence=sequence,
            records=sum(lost.values()),
            action="the plane refuses this batch: report the .refused file as a defect",
        )

    def earlier_boots(self) -> list[tuple[str, Path]]:
        """(boot id, folder) of the spools that earlier boots of this host left."""
        return earlier_boots(self._directory)

    def ack(self, sequence: int) -> None:
        """The plane has everything up to this sequence: segments that hold nothing later are deleted."""
        with self._lock:
            self._acknowledged = max(self._acknowledged, min(sequence, self._next - 1))
            # The last one stays, whatever it holds: its note is the newest state.
            gone = [s for s in self._segments[:-1] if s.last <= self._acknowledged]
        if gone:
            self._forget(gone)

    @property
    def acknowledged(self) -> int:
        """Highest sequence that the plane has acknowledged to this sensor, 0 for none."""
        return self._acknowledged

    @property
    def last_sequence(self) -> int:
        """Highest sequence that was appended; one less than the next."""
        return self._next - 1

    @property
    def first_sequence(self) -> int:
        """Sequence of the oldest batch that still waits; the next one's when none does."""
        with self._lock:
            for segment in self._segments:
                if segment.last > self._acknowledged and segment.batches:
                    return max(segment.first, self._acknowledged + 1)
            return self._next

    def status(self) -> SpoolStatus:
        """Figures for `rubicon doctor` and the local socket."""
        first = self.first_sequence
        with self._lock:
            waiting = sum(max(0, s.last - max(s.first - 1, self._acknowledged)) for s in self._segments if s.batches)
            size = sum(s.end for s in self._segments)
        return SpoolStatus(waiting, size, first, self._next - 1, self._dropped)

    def close(self) -> None:
        """Let go of the files; what waits stays on disk."""
        self._close_active()
        os.close(self._lock_fd)
