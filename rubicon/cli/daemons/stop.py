"""Take an instance down, so that nothing of it is mounted, pinned, attached or running."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rubicon.cli.daemons import record
from rubicon.cli.daemons.turn import path, turn
from rubicon.client.errors import CallerIsAgent, InternalError, PermissionDenied, RubiconError
from rubicon.client.local import LocalSocket
from rubicon.v1.instance import Instance

END_S = 25.0
ANSWER_S = 5.0
"""Seconds that a sensor may take for an answer; one that hangs is ended without it."""


def living(instance: Instance) -> list[dict[str, Any]]:
    """Agents that live on this host, as the sensor lists them, or, where none answers, as the last one wrote them down.

    Raises:
        CallerIsAgent, PermissionDenied: as they say.
    """
    try:
        return list(LocalSocket(instance).call("agents", timeout=ANSWER_S)["agents"])
    except (CallerIsAgent, PermissionDenied):
        raise
    except RubiconError:
        return _recorded(instance)


def _recorded(instance: Instance) -> list[dict[str, Any]]:
    """The registry's file (sensor/act/registry.py); none where Rubicon was taken down since, or the host started anew."""
    try:
        stored = json.loads((instance.state_dir / "agents.json").read_bytes())
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        up = (instance.run_dir / "daemons.json").exists()
        return list(stored["agents"]) if up and stored["boot_id"] == boot else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def down(instance: Instance) -> bool:
    """Stop the daemons and remove what stays in the kernel; whether anything ran.

    Raises:
        PermissionDenied: not root.
        InternalError: something could not be removed; the message says what.
        RubiconUnreachable: somebody else starts or stops it, and does not come to an end.
    """
    if os.geteuid():
        raise PermissionDenied("only root can take Rubicon down", "use sudo")
    with contextlib.ExitStack() as ours:
        with contextlib.suppress(FileNotFoundError):
            ours.enter_context(turn(instance))
        _release(instance)
        return _down(instance)


def _release(instance: Instance) -> None:
    """Release who is frozen or isolated, in the caller's name, so that the audit has it.

    Taking the instance down lets go of them in any case; where no sensor answers, nobody writes it down.
    """
    with contextlib.suppress(RubiconError):
        for agent in LocalSocket(instance).call("agents", timeout=ANSWER_S)["agents"]:
            if any(agent.get(word) for word in ("frozen", "isolated", "stopped")):
                LocalSocket(instance).call("release", timeout=ANSWER_S, target=agent["id"], reason="rubicon down")


def _down(instance: Instance) -> bool:
    found = record.read(instance)
    for process in sorted(found, key=lambda each: each.name != "supervisor"):
        process.end(END_S)
    unload = subprocess.run(
        [str(Path(sys.executable).parent / "rubicon-sensor"), "--unload"], capture_output=True, text=True, check=False
    )
    if unload.returncode:
        raise InternalError(f"what is in the kernel could not be removed: {unload.stderr.strip()}")
    leftovers = (instance.run_dir / name for name in ("sensor.sock", "plane.sock", "daemons.json"))
    for leftover in (*leftovers, path(instance)):
        with contextlib.suppress(OSError):
            leftover.unlink(missing_ok=True)
    return bool(found)
