"""The local socket: one JSON object a line in, one a line out.

Who may connect is decided by the folder (root and group `rubicon`), who is calling by the kernel. A process that
belongs to an agent is refused whatever it asks, and that it asked is an event. A caller that sends nonsense, sends
too much, sends slowly or does not read is answered once where possible, and loses its connection; nobody else
notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import orjson
import structlog

from rubicon.v1 import event_pb2, process_pb2
from rubicon.v1.ids import agent_id
from sensor.errors import Busy, CallerIsAgent, InvalidArgument, SensorError
from sensor.local.agents import agents
from sensor.local.attest import attest
from sensor.local.contain import freeze, isolate, release
from sensor.local.context import Context, Reply, Request
from sensor.local.finish import finish
from sensor.local.kill import kill
from sensor.local.launch import launch
from sensor.local.members import members
from sensor.local.peer import Peer
from sensor.local.status import status

log = structlog.get_logger(part="local")
Op = Callable[[Context, Peer, Request], Awaitable[Reply]]
OPS: Mapping[str, Op] = {
    "attest": attest,
    "launch": launch,
    "kill": kill,
    "freeze": freeze,
    "isolate": isolate,
    "release": release,
    "agents": agents,
    "members": members,
    "status": status,
    "finish": finish,
}


class LocalServer:
    """Serves the socket of one sensor."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings.local
        self._server: asyncio.Server | None = None
        self._callers: Counter[int] = Counter()
        self._tampered: dict[int, float] = {}
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._stopping = False

    async def start(self, group: int) -> None:
        """Make the socket, readable and writable for root and group `group`; its folder must be there.

        Raises:
            OSError: it cannot be made.
        """
        path = self._context.instance.sensor_socket
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        # Bound under another name and moved: who sees the socket can connect, and a stale one is replaced in one step.
        listener.bind(str(draft))
        os.chown(draft, 0, group)
        draft.chmod(0o660)
        listener.listen(256)
        draft.rename(path)
        self._server = await asyncio.start_unix_server(
            self._accepted, sock=listener, limit=self._settings.line_bytes + 1, start_serving=True
        )

    async def stop(self) -> None:
        """Take no more callers, end the connections, remove the socket."""
        self._context.instance.sensor_socket.unlink(missing_ok=True)
        self._stopping = True
        # Nobody can find the socket any more. Who is in its queue is accepted and aborted in these turns of the loop:
        # a server that is closed between an accept and its second half leaks the connection (CPython before 3.12).
        for _ in range(8):
            await asyncio.sleep(0)
        if self._server:
            self._server.close()
        for task, writer in list(self._tasks.items()):
            task.cancel()
            writer.transport.abort()  # a task that has not begun yet would not do it
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopping:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._connected(reader, writer))
        self._tasks[task] = writer
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = -1
        try:
            connection: socket.socket = writer.get_extra_info("socket")
            with Peer.of(connection, self._context.enroller.kernel) as peer:
                uid = peer.uid
                self._callers[uid] += 1
                await self._serve(peer, reader, writer)
        except SensorError as error:
            await self._answer(writer, _refusal(error))
        except (ConnectionError, asyncio.CancelledError):
            pass
        except OSError as error:
            log.warning("local call failed", error=str(error))
        finally:
            if uid >= 0:
                self._callers[uid] -= 1
            # whoever did not read in time loses what is left
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        settings = self._settings
        crowd = self._callers[peer.uid] > settings.connections_per_uid and peer.uid != 0
        if crowd or self._callers.total() > settings.connections:
            raise Busy("too many callers at once: try again in a moment")
        while True:
            try:
                async with asyncio.timeout(settings.idle_s):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as cut:
                if cut.partial:
                    raise InvalidArgument("the request does not end with a newline") from None
                return
            except asyncio.LimitOverrunError:
                raise InvalidArgument(f"the request is longer than {settings.line_bytes} bytes") from None
            except TimeoutError:
                raise Busy(f"no whole request within {settings.idle_s:g} s: connect again") from None
            if not await self._answer(writer, await self._handle(peer, line)):
                return

    async def _handle(self, peer: Peer, line: bytes) -> Reply:
        op = "?"
        try:
            request = _parsed(line)
            op = str(request.get("op"))[:32]
            self._refuse_agent(peer, op)
            handler = OPS.get(op)
            if not handler:
                raise InvalidArgument(f"op {op!r}: use one of {', '.join(OPS)}")
            return {"ok": True, **await handler(self._context, peer, request)}
        except SensorError as error:
            log.info("local call refused", op=op, caller=peer.identity, reason=error.reason, error=str(error))
            return _refusal(error)
        except Exception:
            log.exception("local call failed", op=op, caller=peer.identity)
            return {"ok": False, "reason": "INTERNAL", "error": f"{op} failed in the sensor: see its log"}

    def _refuse_agent(self, peer: Peer, op: str) -> None:
        number = peer.agent
        if not number:
            return
        now = time.monotonic()
        if now >= self._tampered.get(number, 0):
            self._tampered[number] = now + self._context.settings.local.tamper_s
            if len(self._tampered) > 4096:
                self._tampered = {each: until for each, until in self._tampered.items() if until > now}
            self._context.emit(
                event_pb2.Event(
                    time_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                    agent_id=agent_id(number),
                    process=process_pb2.ProcessKey(pid=peer.pid, start_time_ns=peer.start_time),
                    tamper=event_pb2.Tamper(
                        action="local-socket", detail=f"asked the sensor's local socket for {op!r}; refused"
                    ),
                )
            )
        raise CallerIsAgent("the caller is a watched agent's process: call from a process that is not watched")

    async def _answer(self, writer: asyncio.StreamWriter, reply: Reply) -> bool:
        """Send an answer; False when the caller is gone or does not read."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(orjson.dumps(reply) + b"\n")
            async with asyncio.timeout(self._settings.write_s):
                await writer.drain()
            return True
        return False


def _parsed(line: bytes) -> Request:
    try:
        request = orjson.loads(line)
    except ValueError:
        raise InvalidArgument("the request is not JSON: send one object a line") from None
    if not isinstance(request, dict):
        raise InvalidArgument("the request is not a JSON object")
    return request


def _refusal(error: SensorError) -> Reply:
    return {"ok": False, "reason": error.reason, "error": str(error)}
