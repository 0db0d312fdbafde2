"""Metrics in the Prometheus text format, written to a file that a node exporter's textfile collector reads.

A file and no port: nothing listens that an agent could reach, and a node needs no open port. Labels have few values: no agent,
no host, nothing that an agent could choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, write_to_textfile

from controlplane import logs
from controlplane.audit.follow import outcome, word
from controlplane.errors import SettingsInvalid
from controlplane.ingest.sensors import Sensors
from controlplane.settings import MetricsSettings
from controlplane.store.writer import Write
from controlplane.watches import Watches
from rubicon.v1 import alert_pb2, response_pb2

_log = logs.get("metrics")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds; among them the bars of docs/performance.md."""
REMEMBERED = 10_000
"""Alerts that are known to have been counted; a changed one comes again."""


class Metrics:
    """Register `published` as a listener of the store's writer; for the event loop's thread."""

    def __init__(self, settings: MetricsSettings, sensors: Sensors, watches: Watches) -> None:
        self._path, self._every = Path(settings.file), settings.every
        self._registry = CollectorRegistry()
        self._sensors, self._watches = sensors, watches
        self._alerts_seen: OrderedDict[str, None] = OrderedDict()
        self._events = Counter("rubicon_events", "Events stored.", registry=self._registry)
        self._alerts = Counter(
            "rubicon_alerts", "Alerts, each counted once.", ("detector", "severity"), registry=self._registry
        )
        self._responses = Counter(
            "rubicon_responses",
            "Responses that were requested, verified, or failed.",
            ("action", "state"),
            registry=self._registry,
        )
        self._took = Histogram(
            "rubicon_response_duration_seconds",
            "From the request until it was verified, where there was something to do.",
            ("action",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._connected = Gauge("rubicon_sensors", "Sensors that are connected.", registry=self._registry)
        self._living = Gauge(
            "rubicon_agents", "Agents that live: all, frozen, isolated.", ("state",), registry=self._registry
        )
        for action in response_pb2.Action.values()[1:]:
            name = word(response_pb2.Response(action=action))
            self._took.labels(name)
            for state in ("requested", "verified", "failed"):
                self._responses.labels(name, state)

    def published(self, _: int, write: Write) -> None:
        """A write has become durable."""
        self._events.inc(len(write.events))
        for response in {each.id: each for each in write.responses}.values():  # as each is after this write
            self._responses.labels(word(response), outcome(response)).inc()
            verified = response.state == response_pb2.RESPONSE_STATE_VERIFIED
            if verified and response.elapsed_ns:  # 0: there was nothing to do
                self._took.labels(word(response)).observe(response.elapsed_ns / 1e9)
        for alert in write.alerts:
            if alert.id not in self._alerts_seen:
                severity = alert_pb2.Severity.Name(alert.severity).removeprefix("SEVERITY_").lower()
                self._alerts.labels(alert.detector, severity).inc()
                self._alerts_seen[alert.id] = None
                if len(self._alerts_seen) > REMEMBERED:
                    self._alerts_seen.popitem(last=False)

    def check(self) -> None:
        """Say before anything is done when the file cannot be.

        Raises:
            SettingsInvalid: it cannot be written, or no collector would read it.
        """
        if self._path.suffix != ".prom":
            raise SettingsInvalid(
                f"RUBICON_PLANE_METRICS_FILE={self._path}: collectors read only files that end in .prom"
            )
        if not self._path.parent.is_dir() or self._path.is_dir() or not os.access(self._path.parent, os.W_OK | os.X_OK):
            raise SettingsInvalid(
                f"RUBICON_PLANE_METRICS_FILE={self._path} cannot be written there", "make its folder, or name another"
            )

    async def keep(self) -> None:
        """Write the file every so many seconds, until cancelled; then it is gone, for what it said is not so any more."""
        failed = False
        try:
            while True:
                failed = await self._write(failed)
                await asyncio.sleep(self._every)
        finally:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    async def _write(self, failed: bool) -> bool:
        """Anew, at once for whoever reads it; whether it failed, which is said once."""
        self._connected.set(self._sensors.connected)
        living = [agent for agent in self._watches.agents() if not agent.ended]
        self._living.labels("living").set(len(living))
        self._living.labels("frozen").set(sum(agent.frozen for agent in living))
        self._living.labels("isolated").set(sum(agent.isolated for agent in living))
        writing = asyncio.create_task(asyncio.to_thread(write_to_textfile, str(self._path), self._registry))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})  # or the thread would put it there once it is taken away
            raise
        except OSError as error:
            if not failed:
                _log.warning("metrics not written", path=str(self._path), error=str(error))
            return True
        return False
