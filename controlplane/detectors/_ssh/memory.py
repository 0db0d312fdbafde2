"""What is remembered of one agent's SSH; every part is bounded."""

from __future__ import annotations

from collections import OrderedDict

from controlplane.detectors._ssh.asked import Config
from controlplane.detectors._ssh.case import Case
from controlplane.detectors._ssh.control import Requests
from controlplane.detectors._ssh.conversation import MANY, Conversation, Conversations
from controlplane.detectors._ssh.hidden import Hidden
from controlplane.detectors._ssh.relay import Relays
from controlplane.model.finding import EvidenceItem
from controlplane.model.keys import ProcessKey, RecordKey
from rubicon.v1 import event_pb2

_EACH = 512


class Memory:
    """One agent's."""

    def __init__(self) -> None:
        self.conversations = Conversations()
        self.relays = Relays()
        self.requests = Requests()
        self.hidden = Hidden()
        self.cases: OrderedDict[int, Case] = OrderedDict()
        self.execs: OrderedDict[ProcessKey, tuple[int, RecordKey]] = OrderedDict()
        """Kernel time and record of the execs whose arguments ask for a forward."""
        self.configs: OrderedDict[ProcessKey, Config] = OrderedDict()
        self.unix: OrderedDict[ProcessKey, event_pb2.Event] = OrderedDict()
        """Last connect to a Unix socket of processes that ask for a forward and hold no SSH connection."""

    def case(self, conversation: Conversation) -> Case:
        """What is known against a conversation; a new case has the banner."""
        known = self.cases.get(conversation.cookie)
        if known is None:
            known = self.cases[conversation.cookie] = Case(conversation)
            began, banner = conversation.began, conversation.banner
            text = f"the connection speaks SSH: {banner}" if banner else "the proxy's connection does not show SSH"
            known.add(EvidenceItem.of(began, "wire", text, what="banner" if banner else "hidden", banner=banner))
            while len(self.cases) > MANY:
                self.cases.popitem(last=False)
        return known

    @staticmethod
    def keep(into: OrderedDict, key: ProcessKey, value: object) -> None:  # type: ignore[type-arg]
        """Remembers the newest of its kind for a process."""
        into[key] = value
        into.move_to_end(key)
        while len(into) > _EACH:
            into.popitem(last=False)
