"""A client that asks for a remote forward and talks through a proxy whose connection does not show SSH: TLS, a web
socket, anything that encrypts once more. What was asked for is known; only what it looks like outside is not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from controlplane.detectors._ssh import argv
from controlplane.detectors._ssh.asked import above, is_proxy, words
from controlplane.detectors._ssh.conversation import Conversation
from controlplane.detectors._ssh.shape import Shape
from controlplane.detectors._ssh.wire import Side
from controlplane.model.keys import ProcessKey, process_key
from controlplane.model.view import AgentView
from rubicon.v1 import event_pb2

_MANY = 256
_SPOKEN = 3
"""Packets that the proxy sends before it is said that they are not SSH: a SOCKS or HTTP proxy is asked for the way
with at most two, and the banner follows."""


class Hidden:
    """Counts what proxies send, and remembers who sent enough: a client's configuration may be read later. Bounded."""

    def __init__(self) -> None:
        self._sent: OrderedDict[int, int] = OrderedDict()
        self._spoke: OrderedDict[int, Conversation] = OrderedDict()

    def payload(self, event: event_pb2.Event, agent: AgentView) -> Conversation | None:
        """First bytes of a flow that does not speak SSH so far; a conversation without a banner when they are a
        proxy's, and enough of them."""
        owner = process_key(event.process)
        process = agent.process(owner) if owner is not None else None
        if owner is None or process is None or not event.payload.outbound or not is_proxy(process):
            return None
        cookie = event.payload.flow.cookie
        sent = self._sent[cookie] = self._sent.get(cookie, 0) + 1
        self._sent.move_to_end(cookie)
        while len(self._sent) > _MANY:
            self._sent.popitem(last=False)
        if sent != _SPOKEN:
            return None
        began = event_pb2.Event()
        began.CopyFrom(event)  # by itself: not its whole batch
        spoke = self._spoke[cookie] = Conversation(cookie, owner, began, Side(), Side(), Shape())
        while len(self._spoke) > _MANY:
            self._spoke.popitem(last=False)
        return spoke

    def below(self, client: ProcessKey, agent: AgentView) -> list[Conversation]:
        """Those that may be the client's proxies'."""
        return [spoke for spoke in self._spoke.values() if client in above(spoke.owner, agent)]

    def forget(self, cookie: int) -> None:
        """It has ended, or shows SSH after all."""
        self._sent.pop(cookie, None)
        self._spoke.pop(cookie, None)


def client_above(conversation: Conversation, agent: AgentView, configured: Collection[ProcessKey]) -> bool:
    """Whether an ancestor of the proxy is an SSH client: by its name, or because the sensor read its configuration."""
    for key in above(conversation.owner, agent):
        process = agent.process(key)
        if process is not None and ("ssh" in argv.program(words(process.argv)) or key in configured):
            return True
    return False
