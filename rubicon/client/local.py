"""The sensor's local socket: one JSON object a line each way. It works while the plane is dead.

Only modules that load in a few milliseconds are imported here: `rubicon run` enrols its child through this.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from rubicon.client.errors import (
    DeadlineExceeded,
    InternalError,
    PermissionDenied,
    RubiconUnreachable,
    from_reason,
)
from rubicon.v1.instance import Instance

TIMEOUT_S = 30.0
"""Seconds for an answer: a kill of a fork bomb takes below one, and the sensor gives up after three."""


class LocalSocket:
    """Calls to the sensor of one instance; each call is a connection of its own."""

    def __init__(self, instance: Instance | None = None) -> None:
        self.path = (instance or Instance.current()).sensor_socket

    def call(self, op: str, *, timeout: float = TIMEOUT_S, **request: Any) -> dict[str, Any]:
        """Ask, and return the answer.

        Args:
            timeout: seconds to wait.

        Raises:
            RubiconUnreachable: no sensor listens.
            PermissionDenied: the caller may not enter the socket's folder.
            RubiconError: what the sensor answers when it refuses.
        """
        line = json.dumps({"op": op, **request}).encode() + b"\n"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(timeout)
            try:
                channel.connect(str(self.path))
                channel.sendall(line)
                answer = _line(channel)
            except PermissionError:
                raise PermissionDenied(
                    f"you may not use {self.path}",
                    "use sudo, or join the group: 'sudo usermod -aG rubicon $USER', then log in again",
                ) from None
            except (FileNotFoundError, ConnectionRefusedError):
                raise RubiconUnreachable("Rubicon's sensor does not run on this host") from None
            except TimeoutError:
                raise DeadlineExceeded(f"the sensor did not answer within {timeout:g} s") from None
            except OSError as error:
                raise RubiconUnreachable(f"the sensor hung up: {error}") from None
        return _checked(answer)


def _line(channel: socket.socket) -> bytes:
    parts = []
    while part := channel.recv(65536):
        parts.append(part)
        if part.endswith(b"\n"):
            return b"".join(parts)
    raise ConnectionResetError("it closed the connection without an answer")


def _checked(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "ok" not in answer:
        raise InternalError("the sensor's answer is no JSON object of ours")
    if not answer["ok"]:
        raise from_reason(str(answer.get("reason", "")), str(answer.get("error", "the sensor refused")))
    return answer
