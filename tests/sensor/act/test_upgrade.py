"""Another build's objects under what is pinned: what is in force stays in force, without a gap."""

from __future__ import annotations

import socket

import pytest

from sensor.kernel import bpf, host
from tests.knock import KNOCK
from tests.sensor.act.isolating import VERIFIED, isolate, release
from tests.sensor.act.stage import Stage

pytestmark = pytest.mark.root


def heard(server: socket.socket, seconds: float) -> bool:
    server.settimeout(seconds)
    try:
        server.accept()[0].close()
    except TimeoutError:
        return False
    return True


def programs(stage: Stage) -> dict[str, bytes]:
    """The hashes of what the kernel runs, by name."""
    return {name: bpf.program_info(fd).tag for name, fd in stage.kernel._loaded.programs.items()}


def test_what_is_denied_stays_denied_while_other_objects_take_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The objects for kernels without atomic fetch have the same layouts and other instructions."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as outside:
        agent, child = stage.launch("/usr/bin/python3", "-S", "-c", KNOCK, str(outside.getsockname()[1]))
        assert heard(outside, 10)
        assert isolate(stage, agent).state == VERIFIED
        while heard(outside, 0.2):  # connections that were made before and wait to be accepted
            pass
        for fetch in (False, True, False, True):
            before = programs(stage)
            stage.die()
            monkeypatch.setattr(host, "has_atomic_fetch", lambda fetch=fetch: fetch)
            stage.revive()
            assert before.keys() == programs(stage).keys()
            assert before != programs(stage), "other instructions are in force"
            assert not heard(outside, 0.3)
        assert child.poll() is None
        assert stage.registry.find(agent.id).isolated
        release(stage, stage.registry.find(agent.id))
        assert heard(outside, 10)
