"""Why a stream ended, and how long that asks us to wait."""

from __future__ import annotations

from typing import Any, NamedTuple

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"
_SLOW: dict[str, tuple[float, str]] = {
    "HOST_MISMATCH": (5.0, "the plane does not take this sensor for this host: check its key and its host name"),
    "SENSOR_DUPLICATE": (1.0, "another sensor of this host is connected: stop one of the two"),
    "PERMISSION_DENIED": (5.0, "give this sensor a key that may speak for its host"),
    "UNAUTHENTICATED": (1.0, "sensor and plane must share the token key: start both with the same state folder"),
    "STORE_UNAVAILABLE": (1.0, "the plane's store cannot be written: free space on its disk, or end who locks it"),
    "INVALID_ARGUMENT": (5.0, "sensor and plane do not understand each other: use the same version of both"),
}
_BY_CODE = {
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_DENIED",
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_ARGUMENT",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "INVALID_ARGUMENT",
}


class Refusal(NamedTuple):
    """`reason` is a name of ErrorReason without prefix where the plane gave one, else the gRPC code's name."""

    reason: str
    message: str
    action: str
    wait: float
    """Seconds that the next attempt waits at least; 0 when it may come at once."""


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Read the plane's typed error (google.rpc.ErrorInfo in domain "rubicon") from a failed stream."""
    reason = _typed_reason(error) or _BY_CODE.get(error.code(), "")
    wait, action = _SLOW.get(reason, (0.0, "retrying; events are kept on disk meanwhile"))
    return Refusal(reason or error.code().name, error.details() or "", action, wait)


def _typed_reason(error: grpc.aio.AioRpcError) -> str:
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key != _DETAILS:
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except Exception:  # noqa: BLE001  # whatever a stranger answers, it is only a reason
            return ""
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == "rubicon":
                return str(info.reason).removeprefix("ERROR_REASON_")
    return ""
