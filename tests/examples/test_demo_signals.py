"""The demo, interrupted at moments that its own output marks: whatever it had made by then is gone when it ends."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import host as kernel_host
from tests.docs.pages import REPOSITORY
from tests.turns import recorded

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]
MOMENTS = (
    ("An outside host", signal.SIGHUP),
    ("$ rubicon up", signal.SIGINT),
    ("$ rubicon run --name rollout-17", signal.SIGTERM),
    ("Act 2: stop", signal.SIGINT),
)
PLAY = """
import sys
sys.path.insert(0, "examples/demo")
import demo, outside
name = sys.argv[1]
demo.INSTANCE = name
demo.ENVIRONMENT["RUBICON_INSTANCE"] = name
outside.NAMESPACE, outside.NEAR, outside.FAR = name, name[:13] + "a", name[:13] + "b"
sys.exit(demo.main())
"""


@pytest.fixture
def name(root_lock: None) -> Iterator[str]:
    """An instance and a namespace that no real demo uses."""
    made = f"d-{secrets.token_hex(5)}"
    with recorded(Instance(f"rubicon-{made}")):
        yield made


def left(name: str) -> dict[str, object]:
    """What of a demo is there; empty where nothing is."""
    instance = Instance(f"rubicon-{name}")
    bpffs = kernel_host.bpffs()
    found = {
        "processes": having(name),
        "namespace": Path("/run/netns", name).exists(),
        "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if name in line],
        "link": [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(name[:13])],
        "cgroup": (kernel_host.cgroup_root() / instance.cgroup).exists(),
        "pins": bpffs is not None and (bpffs / instance.name).exists(),
        "folders": [path for path in (instance.run_dir, instance.state_dir) if path.exists()],
    }
    return {what: value for what, value in found.items() if value}


def having(name: str) -> list[str]:
    """Command lines of processes that run in the demo's instance."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                if f"RUBICON_INSTANCE={name}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:  # it has just ended
                continue
    return found


@pytest.mark.parametrize(("mark", "number"), MOMENTS, ids=[mark for mark, _ in MOMENTS])
def test_interrupted(name: str, mark: str, number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PLAY, name],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout
        assert any(mark in line for line in demo.stdout), "the moment came"
        if number == signal.SIGINT:
            os.killpg(demo.pid, number)  # a terminal's goes to all of the foreground
        else:
            demo.send_signal(number)
        _, err = demo.communicate(timeout=300)
    assert demo.returncode == 130, err
    assert "interrupted: cleaning up" in err
    assert "Traceback" not in err
    assert "could not" not in err
    assert left(name) == {}
