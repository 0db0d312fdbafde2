"""What an SSH client's configuration asks for, read at the event: when a process of an agent starts an SSH client, or
sends an SSH banner under whatever name.

The reading is done by a helper process that has no rights (`ssh_config_helper`); the sensor only opens the agent's
root folder for it, at `/proc/PID/root`, and makes sure afterwards that PID is still the process that was meant.
Nothing here waits: readings are tasks of the event loop, bounded in number and time, and one that is not done says
why in `SshConfig.error`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from rubicon.v1 import event_pb2, process_pb2
from sensor.errors import ProcessVanished

_log = structlog.get_logger(part="ssh_config")
_CLIENTS = frozenset((b"ssh", b"slogin"))
_BANNER = b"SSH-"
_HELPER = Path(__file__).with_name("ssh_config_helper.py")
_THROUGH = (process_pb2.DESCRIPTOR_KIND_PIPE, process_pb2.DESCRIPTOR_KIND_SOCKET)
KINDS = (2, 17)
"""Numbers of enum event_kind that `on_event` wants: exec and payload."""


@dataclass(frozen=True, slots=True)
class SshConfigSettings:
    """Reading SSH clients' configurations."""

    seconds: float = 3.0
    """Until a reading is given up (an agent's file system may never answer); one takes about 0.06 s."""
    at_once: int = 2
    """Helper processes at the same time."""
    waiting: int = 64
    """Readings that wait; what is beyond is reported as not read."""
    waiting_per_agent: int = 16
    """The same of one agent, so that it does not take the others' places."""
    remembered: int = 2048
    """Execs that are remembered, about 1 kB each, until their process sends a banner."""
    arguments_bytes: int = 16384
    """Of one exec."""


class _Key(NamedTuple):
    pid: int
    start_time_ns: int


@dataclass(slots=True)
class _Program:
    """What is remembered of an exec."""

    argv: list[bytes]
    cwd: str
    uid: int
    gid: int
    parent: _Key
    through: bool
    """Descriptors 0 and 1 are pipes or sockets: it may be somebody's ProxyCommand."""
    read: bool = False


@dataclass(frozen=True, slots=True)
class _Reading:
    key: _Key
    agent: str
    about: event_pb2.RecordId
    time_ns: int
    program: _Program | None


class SshConfigReader:
    """Runs in the collector's event loop. `emit` gets each SshConfig event, without a record id."""

    def __init__(self, emit: Callable[[event_pb2.Event], None], settings: SshConfigSettings | None = None) -> None:
        self._emit = emit
        self._settings = settings or SshConfigSettings()
        self._programs: OrderedDict[_Key, _Program] = OrderedDict()
        self._slots = asyncio.Semaphore(self._settings.at_once)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: Counter[str] = Counter()
        self._told: OrderedDict[str, float] = OrderedDict()

    def on_event(self, event: event_pb2.Event) -> None:
        """For every decoded exec and payload event, in the loop's thread; returns at once."""
        if event.HasField("exec"):
            key = _Key(event.process.pid, event.process.start_time_ns)
            program = self._remember(key, event.exec)
            if _names(program, event.exec) & _CLIENTS:
                program.read = True
                self._start(event, key, program)
        elif event.HasField("payload") and event.payload.outbound and _BANNER in event.payload.data[:8]:
            key = _Key(event.process.pid, event.process.start_time_ns)
            known = self._programs.get(key)
            if known is None:
                self._start(event, key, None)
                return
            self._banner(event, key, known)

    def _banner(self, event: event_pb2.Event, key: _Key, program: _Program) -> None:
        if not program.read:
            program.read = True
            self._start(event, key, program)
        parent = self._programs.get(program.parent) if program.through else None
        if parent is not None and not parent.read:
            # it may be the ProxyCommand of its parent, whose configuration then is the one that asks
            parent.read = True
            self._start(event, program.parent, parent)

    def _remember(self, key: _Key, exec_event: event_pb2.Exec) -> _Program:
        argv, size = [], 0
        for word in exec_event.argv:
            size += len(word) + 1
            if size > self._settings.arguments_bytes:
                break
            argv.append(word)
        kinds = [descriptor.kind for descriptor in exec_event.stdio[:2]]
        program = _Program(
            argv,
            exec_event.cwd,
            exec_event.credentials.uid,
            exec_event.credentials.gid,
            _Key(exec_event.parent.pid, exec_event.parent.start_time_ns),
            len(kinds) == 2 and all(kind in _THROUGH for kind in kinds),
        )
        self._programs[key] = program
        self._programs.move_to_end(key)
        while len(self._programs) > self._settings.remembered:
            self._programs.popitem(last=False)
        return program

    def _start(self, event: event_pb2.Event, key: _Key, program: _Program | None) -> None:
        about = event_pb2.RecordId()
        about.CopyFrom(event.record)
        reading = _Reading(key, event.agent_id, about, event.time_ns, program)
        limits = self._settings
        if len(self._tasks) >= limits.waiting or self._waiting[reading.agent] >= limits.waiting_per_agent:
            self._overloaded(reading)
            return
        self._waiting[reading.agent] += 1
        task = asyncio.get_running_loop().create_task(self._read(reading))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _overloaded(self, reading: _Reading) -> None:
        """Says so, once a second for each agent: a flood of clients must not become a flood of events."""
        now = time.monotonic()
        if now - self._told.get(reading.agent, 0.0) < 1:
            return
        self._told[reading.agent] = now
        self._told.move_to_end(reading.agent)
        while len(self._told) > self._settings.remembered:
            self._told.popitem(last=False)
        self._report(reading, {"error": "not read: too many SSH clients were started at once"})

    async def _read(self, reading: _Reading) -> None:
        try:
            async with self._slots:
                reply = await self._ask(reading)
        except ProcessVanished as error:
            reply = {"error": str(error)}
        except TimeoutError:
            reply = {"error": f"given up after {self._settings.seconds:g} s"}
        except OSError as error:
            _log.warning("ssh_config_unreadable", agent=reading.agent, pid=reading.key.pid, error=str(error))
            reply = {"error": f"the helper could not run: {error}"}
        finally:
            self._waiting[reading.agent] -= 1
            if not self._waiting[reading.agent]:
                del self._waiting[reading.agent]
        self._report(reading, reply)

    async def _ask(self, reading: _Reading) -> dict[str, Any]:
        root = open_root(reading.key)
        try:
            request = {**_who(reading), "root": root, "library": _library(), "here": str(_HELPER.parents[2])}
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_HELPER),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(root,),
                env={},
                cwd="/",
                limit=1 << 18,
            )
        finally:
            os.close(root)
        try:
            async with asyncio.timeout(self._settings.seconds):
                out, err = await process.communicate(json.dumps(request).encode())
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode or not out:
            last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
            return {"error": f"the helper ended with status {process.returncode}: {last[0][:256]}"}
        reply = json.loads(out)
        return reply if isinstance(reply, dict) else {"error": "the helper's answer is no object"}

    def _report(self, reading: _Reading, reply: dict[str, Any]) -> None:
        event = event_pb2.Event(agent_id=reading.agent, time_ns=reading.time_ns)
        event.process.pid, event.process.start_time_ns = reading.key
        config = event.ssh_config
        config.about.CopyFrom(reading.about)
        config.remote_forwards.extend(_text(value) for value in reply.get("remote_forwards", ())[:64])
        config.files.extend(_text(value) for value in reply.get("files", ())[:64])
        config.may_match = bool(reply.get("may_match", False))
        config.host = _text(reply.get("host", ""))
        config.control_path = _text(reply.get("control_path", ""))
        config.error = _text(reply.get("error", ""))
        self._emit(event)

    async def close(self) -> None:
        """Gives up what is being read."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def open_root(key: tuple[int, int]) -> int:
    """A folder descriptor (O_PATH) of a process's root; `key` is (pid, start time in ns since boot).

    Raises:
        ProcessVanished: it has ended, or its pid is somebody else's by now.
    """
    pid, start_time_ns = key
    try:
        descriptor = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ProcessVanished(f"pid {pid} ended before its configuration could be read ({error.strerror})") from None
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        ticks = int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        ticks = -1
    # looked at after the open: whoever has the pid now had it then, and the time tells whether it is the one
    if abs(ticks - start_time_ns * os.sysconf("SC_CLK_TCK") // 10**9) > 1:
        os.close(descriptor)
        raise ProcessVanished(f"pid {pid} ended before its configuration could be read")
    return descriptor


def _who(reading: _Reading) -> dict[str, Any]:
    """Arguments, folder, ids and groups of the client; from /proc what no exec record told."""
    folder = Path(f"/proc/{reading.key.pid}")
    program = reading.program
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        groups = [int(group) for group in status["Groups"].split()]
        if program is None:
            argv = (folder / "cmdline").read_bytes()[:16384].split(b"\0")[:-1]
            uid, gid = int(status["Uid"].split()[0]), int(status["Gid"].split()[0])
            program = _Program(argv, os.readlink(folder / "cwd"), uid, gid, _Key(0, 0), False)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ProcessVanished(f"pid {reading.key.pid} ended before its configuration could be read ({error})") from None
    return {
        "argv": [word.decode("utf-8", "surrogateescape") for word in program.argv],
        "cwd": program.cwd,
        "uid": program.uid,
        "gid": program.gid,
        "groups": groups[:64],
    }


def _library() -> str:
    spec = importlib.util.find_spec("paramiko")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("paramiko is not installed beside the sensor")
    return str(Path(spec.origin).parents[1])


def _names(program: _Program, exec_event: event_pb2.Exec) -> set[bytes]:
    first = program.argv[0].rpartition(b"/")[2] if program.argv else b""
    return {first, exec_event.exe.rpartition("/")[2].encode(), exec_event.filename.rpartition("/")[2].encode()}


def _text(value: Any) -> str:
    """At most 1 kB of text that protobuf takes."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8", "backslashreplace")[:1024]
