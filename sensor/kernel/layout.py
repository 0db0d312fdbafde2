"""The ABI as the decoder sees it: every type of `union abi` (bpf/maps.bpf.h) in one canonical text, and the text's digest.

The generator writes Python from it; the loader compares the digest of each object with the one that was checked in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sensor.kernel.btf import Btf, Member, Type

_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
STARTS = ("header", "flow")
"""Members that open a record; the formats of what follows leave them out."""


def parts(btf: Btf) -> list[tuple[str, str, Type]]:
    """(member's name in `union abi`, "struct" or "enum", type), in order; the structs that records begin with come first.

    Raises:
        ValueError: the object does not carry the ABI.
    """
    found = [
        ("header", "struct", btf.named("struct", "event_header")),
        ("flow_part", "struct", btf.named("struct", "flow")),
    ]
    for member in btf.named("union", "abi").members:
        kind = "enum" if btf.is_enum(member.type) else "struct"
        found.append((member.name, kind, btf.resolve(member.type)))
    return found


def fields(btf: Btf, found: Type, *, whole: bool = False) -> Iterator[tuple[str, str]]:
    """(struct format, name) of each field in order, nested structs and their arrays flattened; padding has no name."""
    for member in found.members:
        if not whole and member.name in STARTS and btf.is_struct(member.type):
            continue
        yield from _field(btf, member)


def _field(btf: Btf, member: Member) -> Iterator[tuple[str, str]]:
    array = btf.array(member.type)
    if member.name == "padding":
        yield f"{btf.size_of(member.type)}x", ""
    elif array and btf.is_struct(array[0]):
        for index in range(array[1]):
            for code, name in fields(btf, btf.resolve(array[0]), whole=True):
                yield code, f"{name}{index}" if name else ""
    elif array and btf.size_of(array[0]) == 1:
        yield f"{array[1]}s", member.name
    elif array:
        for index in range(array[1]):
            yield _FORMATS[btf.size_of(array[0])], f"{member.name}{index}"
    elif btf.is_struct(member.type):
        for code, name in fields(btf, btf.resolve(member.type), whole=True):
            yield code, f"{member.name}_{name}" if name else ""
    else:
        yield _FORMATS[btf.size_of(member.type)], member.name


def text(btf: Btf) -> str:
    """Every layout, name and number of the ABI, one a line."""
    lines = []
    for name, kind, found in parts(btf):
        if kind == "enum":
            lines += [f"enum {found.name} {key} {value}" for key, value in found.values.items()]
            continue
        lines.append(f"struct {name} {found.name} {found.size}")
        lines += [
            f"struct {found.name} {member.name} {member.offset} {btf.size_of(member.type)}" for member in found.members
        ]
    return "\n".join(lines) + "\n"


def digest(btf: Btf) -> str:
    """Sixteen hex digits that change with any layout, name or number of the ABI."""
    return hashlib.sha256(text(btf).encode()).hexdigest()[:16]
