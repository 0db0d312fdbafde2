"""What a host sees."""

from __future__ import annotations

from dataclasses import dataclass

from rubicon.client.records.enum import word
from rubicon.v1 import coverage_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageFact:
    """One fact, and what carries it."""

    fact: str
    hook: str
    mechanism: str
    state: str
    """full, partial or missing."""
    missing: str
    """What is not seen here and why, in words."""
    dies_with_sensor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Coverage of one host."""

    host: str
    kernel: str
    loader: str
    connected: bool
    """Its sensor is connected now."""
    facts: tuple[CoverageFact, ...]

    @classmethod
    def of(cls, message: coverage_pb2.Coverage) -> Coverage:
        """From the wire."""
        return cls(
            host=message.host,
            kernel=message.kernel,
            loader=message.loader,
            connected=message.connected,
            facts=tuple(
                CoverageFact(
                    fact=each.fact,
                    hook=each.hook,
                    mechanism=each.mechanism,
                    state=word(coverage_pb2.CoverageState, each.state),
                    missing=each.missing,
                    dies_with_sensor=each.dies_with_sensor,
                )
                for each in message.facts
            ),
        )
