"""Carries out what people, orchestrators and policy ask for: a target becomes a command to a host's sensor, and what
became of it a stored response."""

from controlplane.respond.asked import Asked
from controlplane.respond.ports import Sender, Trees
from controlplane.respond.responder import Responder

__all__ = ["Asked", "Responder", "Sender", "Trees"]
