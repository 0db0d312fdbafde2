"""What is an agent's first run of a program, and what is not."""

from __future__ import annotations

import pytest

from rubicon.v1 import event_pb2
from sensor.collect import programs
from sensor.collect.programs import Programs


def run(agent: str, inode: int, *, device: int = 1, memfd: bool = False) -> event_pb2.Event:
    event = event_pb2.Event(agent_id=agent)
    event.exec.inode, event.exec.device, event.exec.memfd = inode, device, memfd
    return event


def test_each_program_is_new_once_for_each_agent() -> None:
    known = Programs()
    assert known.is_new(run("a", 1))
    assert not known.is_new(run("a", 1))
    assert known.is_new(run("b", 1))
    assert known.is_new(run("a", 1, device=2))


def test_a_file_that_nobody_else_can_open_is_always_new() -> None:
    known = Programs()
    assert known.is_new(run("a", 1, memfd=True))
    assert known.is_new(run("a", 1, memfd=True))


def test_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PROGRAMS", 2)
    known = Programs()
    for inode in (1, 2, 3):
        assert known.is_new(run("a", inode))
    assert not known.is_new(run("a", 3))
    assert known.is_new(run("a", 1))
