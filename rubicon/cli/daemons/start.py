"""Bring an instance up, or join the one that runs."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rubicon.cli.daemons import record, settings
from rubicon.cli.daemons.turn import turn
from rubicon.client.errors import CallerIsAgent, PermissionDenied, RubiconError, RubiconUnreachable
from rubicon.client.local import LocalSocket
from rubicon.v1.instance import Instance

READY_S = 20.0
GROUP = "rubicon"


def running(instance: Instance) -> bool:
    """Whether the sensor answers and its stream to the plane stands."""
    return _status(instance).get("uplink") == "connected"


def ensure(instance: Instance) -> bool:
    """Bring plane and sensor up unless they run, and return when both answer; whether it had to start them.

    Raises:
        PermissionDenied: not root, and nothing runs.
        CallerIsAgent: the caller is itself watched.
        InvalidArgument: the plane cannot start with its settings.
        RubiconUnreachable: they did not come up; the message names the log.
    """
    if running(instance):
        return False
    if os.geteuid():
        raise PermissionDenied("Rubicon does not run here, and only root can start it", "use sudo")
    prepare(instance)
    with turn(instance) as lock:
        settings.check(instance)
        started = not record.read(instance)
        if started:
            _spawn(instance, lock)
    _wait(instance)
    return started


def prepare(instance: Instance) -> None:
    """Make the group and the folders; what exists is put right."""
    with contextlib.suppress(FileNotFoundError):  # no groupadd: the socket stays root's
        if not _group():
            subprocess.run(["groupadd", "--system", "--force", GROUP], check=False, capture_output=True)
    instance.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    instance.state_dir.chmod(0o700)
    instance.log_dir.mkdir(mode=0o700, exist_ok=True)
    instance.run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    group = _group()
    os.chown(instance.run_dir, 0, group.gr_gid if group else 0)
    instance.run_dir.chmod(0o750 if group else 0o700)


def _group() -> grp.struct_group | None:
    try:
        return grp.getgrnam(GROUP)
    except KeyError:
        return None


def _spawn(instance: Instance, lock: int) -> None:
    with (instance.log_dir / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [str(Path(sys.executable).parent / "rubicon"), "up", "--foreground"],
            stdin=lock,  # our turn is its own until it is on record
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def _wait(instance: Instance) -> None:
    began = {name: _size(instance, name) for name in ("sensor", "plane")}
    deadline = time.monotonic() + READY_S
    while not running(instance):
        if time.monotonic() > deadline:
            why = "".join(f"; {name}: {said}" for name in began if (said := _error(instance, name, began[name])))
            raise RubiconUnreachable(
                f"plane and sensor did not come up within {READY_S:.0f} s{why}", f"read {instance.log_dir}/*.log"
            )
        time.sleep(0.05)


def _size(instance: Instance, name: str) -> int:
    with contextlib.suppress(OSError):
        return (instance.log_dir / f"{name}.log").stat().st_size
    return 0


def _error(instance: Instance, name: str, after: int) -> str:
    """What a daemon last logged as an error since its log had so many bytes; empty when nothing."""
    found = ""
    with contextlib.suppress(OSError), (instance.log_dir / f"{name}.log").open("rb") as log:
        log.seek(after)
        for line in log:
            with contextlib.suppress(ValueError, AttributeError):
                entry = json.loads(line)
                if entry.get("level") == "error":
                    found = str(entry.get("error") or entry.get("event"))
    return found


def _status(instance: Instance) -> dict[str, Any]:
    try:
        return LocalSocket(instance).call("status", timeout=5)
    except (CallerIsAgent, PermissionDenied):  # an agent's process must not start a second Rubicon below itself
        raise
    except RubiconError:
        return {}
