"""The watch of an agent's alerts: its end is told when it comes too early, and not when all is over."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest

from rubicon.cli.launch.alerts import AlertPrinter
from rubicon.client import sync
from rubicon.client.errors import AgentNotFound, RubiconError


class Stream:
    """A client whose only stream ends with an error once it is closed."""

    made: list[Stream]
    unknown = 0
    """Streams that end because the plane does not know the agent yet."""

    def __init__(self) -> None:
        self.alerts = self
        self._closed = threading.Event()
        self.made.append(self)

    def watch(self, *_: object, **__: object) -> Iterator[object]:
        if self.unknown:
            self.unknown -= 1
            raise AgentNotFound("no agent is called so")
        assert self._closed.wait(60)
        raise RubiconError("the client is closed")
        yield

    def close(self) -> None:
        self._closed.set()


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Stream]:
    monkeypatch.setattr(sync, "Client", Stream)
    monkeypatch.setattr(Stream, "made", [], raising=False)
    return Stream.made


def ended() -> None:
    for thread in threading.enumerate():
        if thread.name == "alerts":
            thread.join(60)
            assert not thread.is_alive()


def begun(streams: list[Stream]) -> Stream:
    while not streams:
        threading.Event().wait(0.005)
    return streams[0]


def test_its_own_end_is_nothing_to_tell(streams: list[Stream]) -> None:
    out = io.StringIO()
    printer = AlertPrinter("a", lambda: False, out)
    begun(streams)
    printer.finish([])
    streams[0].close()
    ended()
    assert out.getvalue() == ""


def test_an_end_before_that_is_told(streams: list[Stream]) -> None:
    out = io.StringIO()
    AlertPrinter("a", lambda: False, out)
    begun(streams).close()
    ended()
    assert out.getvalue() == "rubicon: alerts are not shown any more: the client is closed\n"


def test_an_agent_that_the_plane_does_not_know_yet_is_asked_for_again(
    streams: list[Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stream, "unknown", 2)
    out = io.StringIO()
    printer = AlertPrinter("a", lambda: False, out)
    stream = begun(streams)
    while stream.unknown:
        threading.Event().wait(0.005)
    printer.finish([])
    ended()
    assert out.getvalue() == ""
