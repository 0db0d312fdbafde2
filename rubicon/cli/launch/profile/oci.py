"""The same profile for containers, in the form of the OCI runtime specification; deploy/profile/generate.py writes it."""

from __future__ import annotations

from typing import Any

from rubicon.cli.launch.profile.lists import (
    CONTAINER,
    OTHER_FAMILIES,
    REFUSED,
    SOCKET_CALLS,
    Argument,
    refused_families,
)


def seccomp() -> dict[str, Any]:
    """`linux.seccomp` of a config.json; also what `docker run --security-opt seccomp=` and Kubernetes take.

    It names no architectures: a runtime then takes the machine's own, and ends who makes calls of another.
    """
    calls = [
        {"names": [call.name], "action": "SCMP_ACT_ERRNO", "errnoRet": call.errno, "comment": call.why}
        | ({"args": [_argument(one) for one in call.where]} if call.where else {})
        for call in REFUSED
    ]
    families = [
        {
            "names": list(SOCKET_CALLS),
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": OTHER_FAMILIES,
            "args": [{"index": 0, "value": condition.number, "op": f"SCMP_CMP_{condition.comparison}"}],
        }
        for condition in refused_families()
    ]
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls + families}


def _argument(argument: Argument) -> dict[str, Any]:
    told = {"index": argument.place, "value": argument.number, "op": f"SCMP_CMP_{argument.comparison}"}
    return told | {"value": argument.mask, "valueTwo": argument.number} if argument.mask else told


def capabilities() -> dict[str, list[str]]:
    """`process.capabilities` of a config.json."""
    kept = list(CONTAINER)
    return {"bounding": kept, "effective": kept, "permitted": kept, "inheritable": [], "ambient": []}
