"""Rounds of a soak: what an agent tries, drawn from a seed, so that any round can be had again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

WAYS = (
    *("tcp4-old", "tcp6-old", "mapped-old", "udp4-old", "udp6-old", "mptcp-old", "ping-old", "udp-unconnected-old"),
    *(
        "udp-bound-old",
        "tcp-made-before",
        "in-flight",
        "in-flight-and-full",
        "closed-old",
        "held-by-a-daemon",
        "by-a-thread",
        "splice",
        "multicast",
        "multicast6",
        "reconnect",
    ),
    *(
        "accepted-old",
        "accept",
        "left-old",
        "left-closed-old",
        "namespaces-old",
        "tcp4",
        "tcp6",
        "mptcp",
        "udp4",
        "udp6",
        "udplite",
        "ping",
        "ping6",
    ),
    *("raw", "sctp", "smc", "sock-packet", "fast-open", "reuse-address", "namespaces", "left"),
)
MODES = ("leaf", "relay", "session", "vfork", "thread", "namespace", "parent", "move", "into", "mixed")
DAEMONS = ("rubicon-sensor", "rubicon-plane")


@dataclass(frozen=True)
class Escape:
    """Isolated, an agent tries to get out by these ways, so many times each."""

    user: str
    ways: tuple[str, ...]
    rounds: int
    local: bool
    """Asked of the sensor, not of the plane."""
    again: bool
    """Isolated twice, with a release in between."""
    dies: str
    """The daemon that is killed meanwhile; empty for none."""


@dataclass(frozen=True)
class Outlive:
    """A bomb that is to outlive a kill; frozen before, or not."""

    user: str
    width: int
    mode: str
    frozen: bool
    dies: str


Round = Escape | Outlive


def rounds(seed: int) -> Iterator[Round]:
    """Without end."""
    chance = random.Random(seed)
    while True:
        user = chance.choice(("root", "root", "nobody"))
        dies = chance.choice(("", "", "", *DAEMONS))
        if chance.random() < 0.6:
            ways = tuple(chance.sample(WAYS, chance.randint(1, len(WAYS))))
            yield Escape(user, ways, chance.randint(3, 60), chance.random() < 0.3, chance.random() < 0.2, dies)
        else:
            mode = chance.choice(MODES)
            yield Outlive(user, chance.randint(1, 64), mode, chance.random() < 0.3, dies)
