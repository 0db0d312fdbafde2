"""Another host, as far as the kernel side can tell: a process in a mount namespace of its own, with other mounts or rights.

Nothing of it shows on this host, and whatever it pinned or mounted is gone with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rubicon.v1.instance import Instance

OPEN = """
from rubicon.v1.instance import Instance
from sensor.kernel.loader import Kernel
from sensor.kernel.errors import KernelError
from sensor.kernel.settings import KernelSettings

instance = Instance.current()
try:
    kernel = Kernel.open(instance, KernelSettings())
except KernelError as error:
    print(type(error).__name__, error, sep="|")
    raise SystemExit(0)
print("open", *sorted(fact.fact for fact in kernel.coverage if fact.state == "missing"), sep="|")
"""
ROOT = Path(__file__).parents[3]


def elsewhere(instance: Instance, setup: str = "", code: str = OPEN, after: str = "") -> list[str]:
    """Open the kernel side after a few shell commands; lines of what it printed: the error's name and text, or "open".

    `after` is Python to be run with `kernel` open.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(code + after)
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-euc",
                f'{setup}\nexec "$0" "$1"',
                sys.executable,
                script,
            ],
            env={**os.environ, "RUBICON_INSTANCE": instance.name.removeprefix("rubicon-"), "PYTHONPATH": str(ROOT)},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
