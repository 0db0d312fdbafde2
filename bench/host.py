"""Rubicon up and down on this host, in an instance of the bench's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rubicon.v1.instance import Instance

BIN = Path(sys.executable).parent
PROGRAMS = Path(__file__).parent / "programs"
INSTANCE = "bench"
OURS = Instance(f"rubicon-{INSTANCE}")
ENVIRONMENT = {**os.environ, "RUBICON_INSTANCE": INSTANCE}
ENVIRONMENT.pop("SUDO_USER", None)  # the workloads run as root in both arms


def rubicon(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the CLI; its output is captured, a failure raises with it."""
    command = [str(BIN / "rubicon"), *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode and not options.get("any_status"):
        raise RuntimeError(f"{' '.join(command)} exited {done.returncode}: {done.stderr}")
    return done


def forget() -> None:
    """Begin with an empty store, so that a run's figures do not depend on how many there were before."""
    rubicon("down", "--yes", any_status=True)
    shutil.rmtree(OURS.state_dir, ignore_errors=True)


@contextmanager
def up() -> Iterator[None]:
    """Plane and sensor run inside the block, nothing of them outside it."""
    rubicon("up")
    try:
        yield
    finally:
        rubicon("down", "--yes")


def compiled(name: str) -> Path:
    """Build one of bench/programs and return the executable.

    Raises:
        RuntimeError: there is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise RuntimeError("the bench needs a C compiler: run deploy/dependencies.sh test")
    target = Path("build") / "bench" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-o", str(target), str(PROGRAMS / f"{name}.c")], check=True)
    return target.resolve()


@contextmanager
def micro(seconds: float, *names: str) -> Iterator[list[str]]:
    """The command of the micro workloads (all, or those of the names), with a server that no agent owns at the other end."""
    program = str(compiled("micro"))
    with subprocess.Popen([program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield [
            program,
            str(seconds),
            *server.stdout.readline().split(),
            *names,
        ]  # leaving closes its stdin, which ends it


def minima(output: str) -> dict[str, float]:
    """Workload → nanoseconds an operation in its best batch, of what programs/micro.c prints."""
    return {name: float(minimum) for name, minimum, _median in map(str.split, output.splitlines())}
