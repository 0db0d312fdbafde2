"""The demo cleans up after itself whatever fails; what it shows is what it runs."""

from __future__ import annotations

import importlib
import os
import secrets
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import REPOSITORY


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The demo's module, under names that no real demo uses."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "examples/demo"))
    module, outside = importlib.import_module("demo"), importlib.import_module("outside")
    name = f"t-{os.getpid()}-{secrets.token_hex(3)}"
    monkeypatch.setattr(module, "INSTANCE", name)
    monkeypatch.setattr(module, "ENVIRONMENT", {**os.environ, "RUBICON_INSTANCE": name})
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    monkeypatch.setattr(outside, "NAMESPACE", f"rubicon-{name}")
    monkeypatch.setattr(outside, "NEAR", name[:15])
    return module


@pytest.mark.root
def test_every_step_of_the_cleaning_up_is_tried(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace, state = f"rubicon-{demo.INSTANCE}", Path(f"/run/rubicon-{demo.INSTANCE}")
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    state.mkdir()
    inside = subprocess.Popen(["ip", "netns", "exec", namespace, "sleep", "60"])
    rollout = subprocess.Popen(["sleep", "60"])
    try:
        played = demo.Demo(tmp_path)
        played.rollouts.append(rollout)
        monkeypatch.setattr(demo, "RUBICON", str(tmp_path / "nothing"))  # whatever starts it gets an OSError
        failed = played.close()
        assert [line.partition(":")[0] for line in failed] == [
            "could not kill rollout-17",
            "could not kill rollout-18",
            "could not take plane and sensor down",
        ]
        assert rollout.poll() is not None
        assert not Path("/run/netns", namespace).exists()
        assert not state.exists()
    finally:
        for process in (inside, rollout):
            process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def test_a_step_that_is_refused_is_tried_again(demo: ModuleType) -> None:
    refusals = [BlockingIOError("no process to be had"), BlockingIOError("no process to be had")]

    def step() -> None:
        if refusals:
            raise refusals.pop()

    demo.again(step)
    assert not refusals


def test_a_failed_act_still_cleans_up(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    def refuse(_: object) -> None:
        raise BlockingIOError("no process to be had")

    monkeypatch.setattr(demo.os, "geteuid", lambda: 0)
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)
    monkeypatch.setattr(demo.Demo, "prepare", refuse)
    monkeypatch.setattr(demo.Demo, "close", lambda _: closed.append(True) or [])
    assert demo.main() == 1
    assert closed


def test_commands_are_shown_as_they_would_be_typed(
    demo: ModuleType, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "RUBICON", "true")
    demo.show("kill", "rollout-17", "--reason", "reverse tunnel")
    assert "$ rubicon kill rollout-17 --reason 'reverse tunnel'" in capfd.readouterr().out
