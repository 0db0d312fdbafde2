"""Shows an agent's alerts on stderr as they happen, or later, where CMD has the terminal."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rubicon.cli.launch.room import awaited, room

if TYPE_CHECKING:
    from rubicon.client.records.alert import Alert
    from rubicon.client.sync import Client

AGAIN_S = 0.05
"""Seconds between two questions after an agent that the plane does not know yet."""


class AlertPrinter:
    """A thread that watches one agent's alerts."""

    def __init__(self, agent_id: str, busy: Callable[[], bool], file: TextIO | None) -> None:
        self._agent_id = agent_id
        self._busy = busy
        self._file = file
        self._lock = threading.Lock()
        self._waiting: list[Alert] = []
        self._shown: dict[str, str] = {}
        self._client: Client | None = None
        self._over = False
        with contextlib.suppress(RuntimeError):  # not one thread: they are shown at the end
            threading.Thread(target=self._watch, name="alerts", daemon=True).start()

    def finish(self, alerts: list[Alert]) -> None:
        """Show what waited, and those of a complete list that the watch has not brought."""
        with self._lock:
            self._over = True
            waiting, self._waiting = self._waiting, []
            for alert in [*waiting, *alerts]:
                self._show(alert)
        if self._client:
            self._client.close()

    def _watch(self) -> None:
        from rubicon.client.errors import AgentKilledError, AgentNotFound, RubiconError
        from rubicon.client.sync import Client

        if not room():
            with self._lock:
                print("rubicon: alerts wait: no thread can be started, there are too many processes", file=sys.stderr)
            awaited(math.inf)
        try:
            self._client = Client()
            while not self._over:
                with contextlib.suppress(AgentNotFound):
                    self._follow(self._client)
                    return
                time.sleep(AGAIN_S)  # the sensor has it, and the plane soon will
        except AgentKilledError:
            pass  # the summary says so
        except RubiconError as error:
            with self._lock:
                if not self._over:  # the watch was still beginning when all had been shown already
                    print(f"rubicon: alerts are not shown any more: {error.message}", file=self._file or sys.stderr)

    def _follow(self, client: Client) -> None:
        for alert in client.alerts.watch(self._agent_id, existing=True):
            with self._lock:
                if self._file is None and self._busy():
                    self._waiting.append(alert)
                else:
                    waiting, self._waiting = self._waiting, []
                    for each in [*waiting, alert]:
                        self._show(each)

    def _show(self, alert: Alert) -> None:
        from rubicon.cli.render.lines import alert_block
        from rubicon.cli.render.output import Output

        if self._shown.get(alert.id) == alert.severity:
            return  # it has only been repeated
        self._shown[alert.id] = alert.severity
        output = Output(self._file or sys.stderr)
        first, *rest = alert_block(alert, output.icon)
        output.line(first)
        if alert.severity != "info":
            for line in rest:
                output.wrapped(line)
