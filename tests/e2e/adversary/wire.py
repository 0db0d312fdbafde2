"""Two network namespaces of the test's own and a cable between them: agents on one side, a counter on the other."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.adversary.field import PROGRAMS
from tests.sensor.act.keeper import compiled

INSIDE4, OUTSIDE4, INSIDE6, OUTSIDE6 = "10.99.0.1", "10.99.0.2", "fd99::1", "fd99::2"
TCP_PORT, UDP_PORT = 7000, 7001


def escapes() -> tuple[str, ...]:
    """The program that tries every way out; anybody may read it where it is."""
    script = public(PROGRAMS / "escapes.py")
    return ("/usr/bin/python3", "-S", script, INSIDE4, OUTSIDE4, INSIDE6, OUTSIDE6, str(TCP_PORT), str(UDP_PORT))


def public(path: Path) -> str:
    """A copy beside the compiled programs, in a folder that is open to everybody."""
    folder = Path(compiled("bomb")).parent
    folder.chmod(0o755)
    place = folder / path.name
    return str(place if place == path else shutil.copy(path, place))


@dataclass
class Wire:
    """`enter` begins a command inside; `count` is what has come out so far."""

    inside: int
    outside: subprocess.Popen[str]

    @property
    def enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self.inside}/ns/net")

    def count(self, *, read: bool = False) -> tuple[int, str]:
        """Packets, and the last ones in words; `read`: the other side takes what it has left lying about."""
        assert self.outside.stdin
        assert self.outside.stdout
        self.outside.stdin.write("read\n" if read else "\n")
        self.outside.stdin.flush()
        number, _, last = self.outside.stdout.readline().strip().partition(" ")
        return int(number), last

    def quiet(self, seconds: float = 5) -> int:
        """The count, once what was under way is there: two in a row are the same, a tenth of a second apart."""
        deadline = time.monotonic() + seconds
        before = -1
        while before != (now := self.count()[0]):
            assert time.monotonic() < deadline, f"packets go on coming: {self.count()}"
            before = now
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.outside.wait(0.1)
        return now


def _namespace() -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    holder.stdout.readline()
    return holder


def _ip(pid: int, *words: str) -> None:
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Lay it; it is gone with its two namespaces."""
    with contextlib.ExitStack() as stack:
        inside, outside = (stack.enter_context(ended(_namespace())) for _ in range(2))
        _ip(inside.pid, "ip", "link", "add", "in0", "type", "veth", "peer", "name", "out0", "netns", str(outside.pid))
        for pid, device, own4, own6 in (
            (inside.pid, "in0", INSIDE4, INSIDE6),
            (outside.pid, "out0", OUTSIDE4, OUTSIDE6),
        ):
            _ip(pid, "ip", "link", "set", "lo", "up")
            _ip(pid, "ip", "address", "add", f"{own4}/24", "dev", device)
            _ip(pid, "ip", "address", "add", f"{own6}/64", "dev", device, "nodad")
            _ip(pid, "ip", "link", "set", device, "up")
            _ip(pid, "sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
            _ip(pid, "sysctl", "-qw", "net.ipv4.tcp_fastopen=1027")
        command = [
            "nsenter",
            f"--net=/proc/{outside.pid}/ns/net",
            "/usr/bin/python3",
            "-S",
            str(PROGRAMS / "outside.py"),
        ]
        counter = subprocess.Popen(
            [*command, "out0", str(TCP_PORT), str(UDP_PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stack.enter_context(ended(counter))
        assert counter.stdout
        assert counter.stdout.readline() == "ready\n"
        yield Wire(inside.pid, counter)


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Whatever becomes of the block, it is killed after it."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
