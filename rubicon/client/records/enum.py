"""Words of the wire's enumerations."""

from __future__ import annotations

from typing import Any


def word(kind: Any, number: int) -> str:
    """The lower-case word for a value: "killed" for AGENT_STATE_KILLED.

    A plane may be newer than this client: a value that is not known here is its number, as it came.

    Args:
        kind: the generated enumeration.
    """
    return named(kind.DESCRIPTOR, number) or str(number)


def named(enumeration: Any, number: int) -> str:
    """The same of an EnumDescriptor, empty where the value is not known; zero is PREFIX_UNSPECIFIED in all of ours."""
    values = enumeration.values_by_number
    if number not in values:
        return ""
    name: str = values[number].name
    return name.removeprefix(values[0].name.removesuffix("UNSPECIFIED")).lower()
