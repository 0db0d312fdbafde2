"""Brokers on a TCP port of this host: sshd, and docker's API where it listens so."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from controlplane.model.flow import Flow
from controlplane.model.view import AgentView
from rubicon.v1 import flow_pb2

SSH = "ssh"
BROKERS = {22: SSH, 2375: "docker", 2376: "docker"}
TECHNIQUES = {SSH: ("T1021.004",), "docker": ("T1610",)}
_HOST = 1
"""Cookie of the initial network namespace: the first that net_ns_init() takes (5.12)."""
_MOST = 1024
"""Listeners of one agent that are remembered: the newest."""


class Listeners:
    """Ports that the agent itself listens on."""

    def __init__(self) -> None:
        self._cookies: OrderedDict[int, None] = OrderedDict()

    def add(self, flow: flow_pb2.Flow) -> None:
        """It began to listen."""
        self._cookies[flow.cookie] = None
        if len(self._cookies) > _MOST:
            self._cookies.popitem(last=False)

    def close(self, cookie: int) -> None:
        """A socket was closed."""
        self._cookies.pop(cookie, None)

    def has(self, wanted: Flow, agent: AgentView) -> bool:
        """Does one of them take connections to where this flow goes?"""
        for cookie in self._cookies:
            own = agent.flow(cookie)
            if own is None or own.source_port != wanted.destination_port or own.netns_cookie != wanted.netns_cookie:
                continue
            address = _address(own.source)
            if address is None or address.is_unspecified or address == _address(wanted.destination):
                return True
        return False


def local(flow: Flow) -> bool:
    """It was opened by the agent and ends on this host: at a loopback address, or at its own source address."""
    destination = _address(flow.destination)
    if flow.direction != flow_pb2.FLOW_DIRECTION_OUTBOUND or destination is None:
        return False
    return destination.is_loopback or destination == _address(flow.source)


def at_home(flow: Flow, agent: AgentView) -> bool:
    """It is in the host's network namespace, or in that in which the agent began. Loopback in one that it made or entered
    since is mostly that of somebody's container."""
    process = agent.process(flow.process) if flow.process is not None else None
    if flow.netns_cookie == _HOST or process is None or process.image.namespaces is None:
        return True
    *_, first = (process, *agent.ancestors(process.key))
    began = first.inherited or (first.images[0] if first.images else first.base)
    return began.namespaces is None or began.namespaces.net == process.image.namespaces.net


def _address(raw: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if len(raw) not in (4, 16):
        return None
    address = ipaddress.ip_address(raw)
    return getattr(address, "ipv4_mapped", None) or address
