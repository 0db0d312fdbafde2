"""Streams that outlive a restart of the plane: nothing twice, nothing missing."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable
from queue import Queue
from typing import Any

import pytest

from rubicon.client import Client, errors
from rubicon.client.resume import AlertWatch, EventStream, Patience
from rubicon.v1 import agent_pb2, alert_service_pb2, event_service_pb2
from tests.controlplane.builders import Kernel, key, tunnel
from tests.rubicon.world import World

ROOT = key(100)


class Follower:
    """Reads a stream in a thread."""

    def __init__(self, stream: Callable[[], Any]) -> None:
        self.seen: Queue[Any] = Queue()
        self.error: errors.RubiconError | None = None

        def read() -> None:
            try:
                for item in stream():
                    self.seen.put(item)
            except errors.RubiconError as error:
                self.error = error

        self.thread = threading.Thread(target=read)
        self.thread.start()

    def take(self, count: int) -> list[Any]:
        return [self.seen.get(timeout=15) for _ in range(count)]


def test_events_go_on_by_cursor(world: World, client: Client) -> None:
    kernel = Kernel()
    world.deliver([kernel.enrol(ROOT), *(kernel.exec(ROOT, f"before-{n}") for n in range(3))])
    follower = Follower(lambda: client.events("rollout", kinds=("exec",), follow=True))
    first = follower.take(3)
    world.stop_plane()
    world.start_plane()
    world.connect()
    world.deliver([kernel.exec(ROOT, f"after-{n}") for n in range(3)])
    second = follower.take(3)
    client.close()
    follower.thread.join(10)
    assert [event.detail["argv"][0] for event in first + second] == [
        f"{when}-{n}" for when, n in itertools.product(("before", "after"), range(3))
    ]
    assert follower.seen.empty()
    assert follower.error is None


def test_alerts_that_came_meanwhile_are_brought_once(world: World, client: Client) -> None:
    kernel = Kernel()
    world.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    follower = Follower(lambda: client.alerts.watch(min_severity="high", existing=True))
    assert [alert.detector for alert in follower.take(1)] == ["ssh-remote-forward"]
    world.stop_plane()
    world.start_plane()
    world.connect()
    child = key(101)
    world.deliver([kernel.fork(ROOT, child), *tunnel(kernel, child, cookie=6)])
    assert [alert.process.pid for alert in follower.take(1)] == [101]
    client.close()
    follower.thread.join(15)
    assert follower.error is None
    assert follower.seen.empty()


def test_what_is_older_than_a_watch_without_the_past_is_not_brought_by_its_reconnection(
    world: World, client: Client
) -> None:
    kernel = Kernel()
    world.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    old = next(client.alerts.list(min_severity="high"))
    watch = AlertWatch("", "high", "", False, False)
    assert not watch.call().request.include_existing  # type: ignore[attr-defined]
    assert watch.call().request.include_existing, "after a reconnection"  # type: ignore[attr-defined]
    assert watch.take(old) == ()
    new = dataclasses.replace(old, id="f" * 16, time_ns=time.time_ns())
    assert watch.take(new) == (new,)


@pytest.mark.parametrize("down", [False, True])
def test_closing_ends_a_stream_also_while_it_waits_for_the_plane(world: World, client: Client, down: bool) -> None:
    world.deliver([Kernel().enrol(ROOT)])
    follower = Follower(lambda: client.events(follow=True))
    follower.take(1)
    if down:
        world.stop_plane()
    client.close()
    follower.thread.join(10)
    assert not follower.thread.is_alive()
    assert follower.error is None
    if down:
        world.start_plane()


def test_a_changed_alert_comes_again_and_the_same_one_does_not(world: World, client: Client) -> None:
    kernel = Kernel()
    world.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    alert = next(client.alerts.list(min_severity="high"))
    stream = AlertWatch("", "", "ssh-remote-forward", True, False)
    assert stream.take(alert) == (alert,)
    assert stream.take(alert) == ()
    louder = dataclasses.replace(alert, severity="critical")
    assert stream.take(louder) == (louder,)
    assert stream.take(dataclasses.replace(alert, id="f" * 16, detector="other")) == ()
    assert stream.take(None) == ()
    assert stream.endless


def test_a_finite_stream_is_not_asked_again(world: World, client: Client) -> None:
    world.deliver([Kernel().enrol(ROOT)])
    assert [event.kind for event in client.events()] == ["enrol"]
    world.stop_plane()
    with pytest.raises(errors.RubiconUnreachable):
        list(client.events())
    world.start_plane()


def test_a_stream_that_never_stood_is_not_asked_again(world: World, client: Client) -> None:
    world.stop_plane()
    with pytest.raises(errors.RubiconUnreachable):
        next(client.alerts.watch())
    world.start_plane()


def test_patience_grows_has_an_end_and_does_not_wait_for_the_hopeless() -> None:
    gone = errors.RubiconUnreachable("gone")
    patience = Patience(give_up_s=60)
    with pytest.raises(errors.RubiconUnreachable):
        patience.pause(gone)
    patience.stands()
    pauses = [patience.pause(gone) for _ in range(8)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.1, 2.0)
    patience.stands()
    assert patience.pause(errors.Overloaded("slow")) == 0.1
    with pytest.raises(errors.AgentNotFound):
        patience.pause(errors.AgentNotFound("no"))
    hasty = Patience(give_up_s=0)
    hasty.stands()
    hasty.pause(gone)
    with pytest.raises(errors.RubiconUnreachable):
        hasty.pause(gone)


def test_an_event_stream_goes_on_after_what_it_took() -> None:
    stream = EventStream("a", ("exec",), 0, None, None, "first", True, False)
    request: Any = stream.call().request
    assert (request.agent, list(request.kinds), request.cursor, request.follow) == ("a", ["exec"], "first", True)
    assert stream.take([]) == []
    assert stream.endless


def test_a_stream_of_one_agent_ends_with_it() -> None:
    watch, events = AlertWatch("a", "", "", True, False), EventStream("a", (), 0, None, None, "", True, False)
    over = agent_pb2.Agent(id="a")
    standing, ended = alert_service_pb2.WatchAlertsResponse(), alert_service_pb2.WatchAlertsResponse(ended=over)
    assert watch.take(watch.call().read(standing)) == ()
    assert watch.endless
    assert watch.take(watch.call().read(ended)) == ()
    assert not watch.endless
    last = event_service_pb2.StreamEventsResponse(ended=over)
    assert events.take(events.call().read(last)) == ()
    assert not events.endless
