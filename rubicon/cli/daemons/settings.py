"""Whether the plane would start with its settings: asked of the plane's own console script, before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rubicon.client.errors import InvalidArgument
from rubicon.v1.instance import Instance


def given(instance: Instance) -> bool:
    """There is something to look at."""
    return os.path.lexists(instance.settings_file) or any(name.startswith("RUBICON_PLANE_") for name in os.environ)


def problem(instance: Instance) -> str:
    """What is wrong, with what to do; empty when nothing is. Nothing is started where there is nothing to look at."""
    if not given(instance):
        return ""
    plane = str(Path(sys.executable).parent / "rubicon-plane")
    done = subprocess.run([plane, "--check"], capture_output=True, text=True, errors="replace", cwd="/", check=False)
    if done.returncode == 0:
        return ""
    return done.stderr.strip().removeprefix("rubicon-plane: ") or f"{plane} --check ended with {done.returncode}"


def check(instance: Instance) -> None:
    """Return when the plane would start with them.

    Raises:
        InvalidArgument: it would not; says file, line and what to do.
    """
    found = problem(instance)
    if found:
        raise InvalidArgument(found)
