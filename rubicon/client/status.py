"""From a gRPC status to an error of ours."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from rubicon.client.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    RubiconError,
    RubiconUnreachable,
    from_reason,
)

DOMAIN = "rubicon"


def error_of(error: grpc.RpcError) -> RubiconError:
    """The error for a failed call (sync or asyncio): by google.rpc.ErrorInfo, else by the status code."""
    call: Any = error
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # the status in the trailers is not the call's: no server of ours
        status = None
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return from_reason(info.reason, status.message, info.metadata.get("hint", ""))
    code, text = call.code(), call.details() or "no details"
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return RubiconUnreachable(
            "Rubicon's control plane does not answer",
            "look with 'rubicon doctor' and 'rubicon logs'; 'rubicon kill --local' works without it",
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("the control plane did not answer in time")
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
        return InvalidArgument(text)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # grpc's own size limit, on either side
        return InvalidArgument(text, "ask for less at once")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return InternalError(f"the plane is of another version: {text}", "restart it: 'sudo rubicon down' and 'up'")
    return InternalError(f"{code.name}: {text}")
