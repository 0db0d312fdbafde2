"""Every way in which a call can go wrong, as an exception of ours that says what to do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rubicon.client import Client, errors
from rubicon.client.local import LocalSocket
from tests.controlplane.builders import Kernel, key, tunnel
from tests.rubicon.world import Command, FolderInstance, Result, World

ROOT = key(100)


CASES: tuple[tuple[Callable[[Client], Any], type[errors.RubiconError], str], ...] = (
    (lambda c: c.agents.get("nobody"), errors.AgentNotFound, "nobody"),
    (lambda c: c.agents.get(""), errors.InvalidArgument, ""),
    (lambda c: c.agents.create("a\x1b[2J"), errors.InvalidArgument, "name"),
    (lambda c: c.agents.create(on_alert="explode"), errors.InvalidArgument, "explode"),
    (lambda c: c.agents.create("rollout"), errors.AgentNameTaken, "rollout"),
    (lambda c: c.alerts.get("0000"), errors.NotFound, "0000"),
    (lambda c: list(c.events("nobody")), errors.AgentNotFound, "nobody"),
    (lambda c: list(c.events(kinds=("explode",))), errors.InvalidArgument, "explode"),
    (lambda c: list(c.events(cursor="AAAA")), errors.CursorInvalid, "cursor"),
    (lambda c: list(c.events(cursor="no base64!")), errors.CursorInvalid, "cursor"),
    (lambda c: next(c.alerts.watch("nobody")), errors.AgentNotFound, "nobody"),
    (lambda c: c.coverage("paris"), errors.SensorUnreachable, "paris"),
    (lambda c: c.process(999_999).kill(), errors.ProcessNotFound, "999999"),
    (lambda c: c.process(100, start_time=1).kill(), errors.ProcessNotFound, "100"),
    (lambda c: c.process(-1).kill(), errors.InvalidArgument, "pid"),
    (lambda c: c.agents.get("rollout").freeze(ttl=0), errors.InvalidArgument, "366 days"),
    (lambda c: c.agents.get("rollout").isolate(ttl=float("inf")), errors.InvalidArgument, "366 days"),
    (lambda c: c.agents.get("rollout").freeze(ttl=367 * 86_400), errors.InvalidArgument, "366 days"),
    (lambda c: c.process(2**40).kill(), errors.InvalidArgument, "pid"),
    (lambda c: list(c.events(pid=2**40)), errors.InvalidArgument, "pid"),
    (lambda c: c.agents.create("a", labels={"k": "\udcff"}), errors.InvalidArgument, "UTF-8"),
    (lambda c: c.agents.create("a", labels={"k": "v" * (17 << 20)}), errors.InvalidArgument, "larger than max"),
    (lambda c: c.agents.get("\ud800"), errors.InvalidArgument, "UTF-8"),
)


@pytest.mark.parametrize(("call", "kind", "word"), CASES)
def test_a_typed_error_that_names_the_value_and_says_what_to_do(
    world: World, client: Client, call: Callable[[Client], Any], kind: type[errors.RubiconError], word: str
) -> None:
    kernel = Kernel()
    world.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    with pytest.raises(errors.RubiconError) as caught:
        call(client)
    assert type(caught.value) is kind, caught.value
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("TARGET_PROTECTED", errors.TargetProtected),
        ("PERMISSION_DENIED", errors.PermissionDenied),
    ],
)
def test_what_the_sensor_refuses(world: World, client: Client, reason: str, kind: type[errors.RubiconError]) -> None:
    async def refuse(_: Command) -> Result:
        return Result(error_reason=reason, error="the target holds your shell")

    world.obey = refuse
    world.deliver([Kernel().enrol(ROOT)])
    with pytest.raises(kind, match="your shell") as caught:
        client.agents.get("rollout").kill()
    assert caught.value.hint


def test_no_sensor(world: World, client: Client) -> None:
    agent = client.agents.create("a")
    with pytest.raises(errors.SensorUnreachable) as caught:
        agent.enrol(pid=1)
    assert caught.value.hint


def test_secrets_are_for_root(world: World, client: Client) -> None:
    world.local.uid = 1000
    kernel = Kernel()
    world.deliver([kernel.enrol(ROOT), kernel.exec(ROOT, "curl", "--token=hunter2hunter2")])
    assert [each.argv for each in client.agents.get("rollout").tree()] == [("curl", "--token=***")]
    for call in (
        lambda: client.agents.get("rollout").tree(show_secrets=True),
        lambda: list(client.events(show_secrets=True)),
        lambda: list(client.alerts.list(show_secrets=True)),
        lambda: next(client.alerts.watch(show_secrets=True)),
    ):
        with pytest.raises(errors.PermissionDenied, match="only root"):
            call()
    world.local.uid = 0
    with Client(world.instance) as root:
        assert [each.argv for each in root.agents.get("rollout").tree(show_secrets=True)] == [
            ("curl", "--token=hunter2hunter2")
        ]


def test_a_caller_that_is_watched_itself_gets_no_token(world: World, client: Client) -> None:
    world.local.answers["attest"] = {"ok": False, "reason": "CALLER_IS_AGENT", "error": "you are watched"}
    with pytest.raises(errors.CallerIsAgent, match="you are watched") as caught:
        list(client.agents.list())
    assert "not watched" in caught.value.hint


def test_a_token_that_the_plane_never_takes(world: World, client: Client) -> None:
    world.local.answers["attest"] = {"ok": True, "token": "nonsense", "expires_at": 2**40, "host": "", "boot_id": ""}
    with pytest.raises(errors.Unauthenticated):
        list(client.agents.list())
    assert [each["op"] for each in world.local.asked] == ["attest", "attest"], "tried once more with a fresh one"


def test_nothing_runs(tmp_path: Path) -> None:
    with Client(FolderInstance(str(tmp_path))) as client:
        assert not client.healthy()
        with pytest.raises(errors.RubiconUnreachable, match="does not run") as caught:
            client.coverage()
    assert "rubicon up" in caught.value.hint


def test_the_plane_is_dead_and_the_sensor_lives(world: World, client: Client) -> None:
    world.stop_plane()
    with pytest.raises(errors.RubiconUnreachable, match="control plane does not answer") as caught:
        client.coverage()
    assert "kill --local" in caught.value.hint
    world.start_plane()
    deadline = time.monotonic() + 10
    while not client.healthy():
        assert time.monotonic() < deadline
    assert list(client.agents.list()) == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", errors.RubiconUnreachable),
        (b"{}\n", errors.InternalError),
        (b"[1]\n", errors.InternalError),
        (b"\xff\xfe\n", errors.InternalError),
        (b'{"ok": false}\n', errors.InternalError),
        (b'{"ok": false, "reason": "AGENT_ENDED", "error": "it is over"}\n', errors.AgentEnded),
        (b'{"ok": true', errors.RubiconUnreachable),
        (None, errors.DeadlineExceeded),
    ],
)
def test_a_local_socket_that_answers_nonsense(
    tmp_path: Path, answer: bytes | None, kind: type[errors.RubiconError]
) -> None:
    instance = FolderInstance(str(tmp_path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(instance.sensor_socket))
        listener.listen()
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                assert json.loads(connection.makefile().readline())["op"] == "status"
                if answer is None:
                    done.wait(10)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(errors.RubiconError) as caught:
            LocalSocket(instance).call("status", timeout=0.3 if answer is None else 10)
        done.set()
        thread.join(10)
    assert type(caught.value) is kind
