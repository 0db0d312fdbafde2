"""inet_diag's SOCK_DESTROY, for kernels that cannot destroy sockets by themselves (before 6.5).

The library takes 150 ms and 24 MB, so this module is imported only there, while something is isolated.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import structlog
from pyroute2 import DiagSocket
from pyroute2.netlink import NLM_F_REQUEST, NLM_F_ROOT
from pyroute2.netlink.diag import SOCK_DIAG_BY_FAMILY, inet_diag_req
from pyroute2.netlink.exceptions import NetlinkError

from sensor.act.wanted import Wanted

_FAMILIES = (2, 10)
_PROTOCOLS = (6, 17)
_SOCK_DESTROY = 21
_NLM_F_REQUEST_ACK = 1 | 4
_EVERY_STATE = (1 << 13) - 1

log = structlog.get_logger(part="isolate")


def destroy_here(wanted: Wanted) -> int:
    """Destroy TCP and UDP sockets of the calling thread's network namespace; how many were.

    Raises:
        OSError: the kernel has no INET_DIAG_DESTROY.
    """
    count = 0
    with DiagSocket() as diag:
        diag.bind()
        for family in _FAMILIES:
            for protocol in _PROTOCOLS:
                for found in list(_dump(diag, family, protocol)):
                    if found["idiag_cookie"] in wanted.cookies or _made_by(found, wanted):
                        count += _cut(diag, family, protocol, found)
    return count


def _made_by(found: Any, wanted: Wanted) -> bool:
    spared = wanted.cgroups.get(found.get_attr("INET_DIAG_CGROUP_ID"))
    return spared is not None and not spared(found["idiag_dst"], found["idiag_dport"])


def _request(family: int, protocol: int) -> Any:
    request = inet_diag_req()
    request["sdiag_family"] = family
    request["sdiag_protocol"] = protocol
    request["idiag_states"] = _EVERY_STATE
    return request


def _dump(diag: Any, family: int, protocol: int) -> Iterable[Any]:
    answers: Iterable[Any] = diag.nlm_request(
        _request(family, protocol), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_ROOT
    )
    return answers


def _cut(diag: Any, family: int, protocol: int, found: Any) -> int:
    request = _request(family, protocol)
    for name in ("idiag_sport", "idiag_dport", "idiag_if", "idiag_cookie"):
        request[name] = found[name]
    for name in ("idiag_src", "idiag_dst"):
        request[name] = struct.unpack(">4I", ip_address(found[name]).packed.ljust(16, b"\0"))
    try:
        # a generator: unless consumed, nothing happens
        list(diag.nlm_request(request, _SOCK_DESTROY, _NLM_F_REQUEST_ACK))
    except NetlinkError as error:
        if error.code == errno.EOPNOTSUPP:
            raise OSError(errno.EOPNOTSUPP, "this kernel has no INET_DIAG_DESTROY") from None
        log.debug("socket not destroyed", code=error.code)  # ENOENT: it closed by itself meanwhile
        return 0
    return 1
