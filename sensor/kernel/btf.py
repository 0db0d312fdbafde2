"""A small reader of BTF (BPF Type Format), as far as record layouts need it: structs, unions, enums, arrays, integers.

Source: Documentation/bpf/btf.rst. Little-endian only, as the objects are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MAGIC = 0xEB9F
_INT, _POINTER, _ARRAY, _STRUCT, _UNION, _ENUM, _FORWARD, _TYPEDEF = range(1, 9)
_VOLATILE, _CONST, _RESTRICT, _FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT = range(9, 17)
_DECL_TAG, _TYPE_TAG, _ENUM64 = 17, 18, 19
_EXTRA = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_EXTRA_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}
_TRANSPARENT = {_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG}


@dataclass(slots=True)
class Member:
    """Member of a struct or union; offset in bytes."""

    name: str
    type: int
    offset: int


@dataclass(slots=True)
class Type:
    """One BTF type; `size` is its size in bytes where it has one, `target` the type that it refers to."""

    kind: int
    name: str
    size: int = 0
    target: int = 0
    count: int = 0
    members: list[Member] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)


class Btf:
    """Types by number and, for structs, unions and enums, by name.

    Raises:
        ValueError: not BTF, or of a kind that is not known here.
    """

    def __init__(self, data: bytes) -> None:
        try:
            magic, _, _, header, types_at, types, strings_at, strings = _HEADER.unpack_from(data)
            if magic != _MAGIC:
                raise ValueError("not BTF: the magic number is missing")
            self._strings = data[header + strings_at : header + strings_at + strings]
            self.types = [Type(0, "void"), *self._parse(data[header + types_at : header + types_at + types])]
        except (struct.error, IndexError) as error:
            raise ValueError(f"truncated BTF: {error}") from None

    @classmethod
    def of_object(cls, path: Path) -> Btf:
        """The BTF section of a compiled object.

        Raises:
            ValueError: no such section (built without -g), or no ELF file.
        """
        return cls(elf_section(path.read_bytes(), ".BTF"))

    def named(self, kind: str, name: str) -> Type:
        """A struct, union or enum by name.

        Raises:
            ValueError: there is none.
        """
        kinds = {"struct": (_STRUCT,), "union": (_UNION,), "enum": (_ENUM, _ENUM64)}[kind]
        for each in self.types:
            if each.kind in kinds and each.name == name:
                return each
        raise ValueError(f"BTF has no {kind} {name}")

    def resolve(self, number: int) -> Type:
        """A type behind its typedefs and qualifiers.

        Raises:
            ValueError: they go round in a circle.
        """
        found = self.types[number]
        for _ in self.types:
            if found.kind not in _TRANSPARENT:
                return found
            found = self.types[found.target]
        raise ValueError(f"damaged BTF: type {number} is never reached")

    def size_of(self, number: int) -> int:
        """Bytes of a type."""
        found = self.resolve(number)
        return found.count * self.size_of(found.target) if found.kind == _ARRAY else found.size

    def is_struct(self, number: int) -> bool:
        """True for a struct."""
        return self.resolve(number).kind == _STRUCT

    def is_enum(self, number: int) -> bool:
        """True for an enum."""
        return self.resolve(number).kind in (_ENUM, _ENUM64)

    def array(self, number: int) -> tuple[int, int] | None:
        """(element type, count) of an array; None for anything else."""
        found = self.resolve(number)
        return (found.target, found.count) if found.kind == _ARRAY else None

    def is_char(self, number: int) -> bool:
        """True for one byte that is no __u8: text."""
        found = self.resolve(number)
        return found.kind == _INT and found.name == "char"

    def _name(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _parse(self, data: bytes) -> Iterator[Type]:
        at = 0
        while at < len(data):
            name, info, size_or_type = _TYPE.unpack_from(data, at)
            at += _TYPE.size
            kind, count, bit_fields = info >> 24 & 0x1F, info & 0xFFFF, info >> 31
            if not _INT <= kind <= _ENUM64:
                raise ValueError(f"BTF kind {kind} is not known here")
            found = Type(kind, self._name(name), size_or_type, size_or_type, count)
            if kind == _ARRAY:
                found.target, _, found.count = struct.unpack_from("<III", data, at)
            elif kind == _POINTER:
                found.size = 8
            for index in range(count if kind in _EXTRA_EACH else 0):
                self._part(found, data, at + index * _EXTRA_EACH[kind], bit_fields)
            at += _EXTRA.get(kind, 0) + _EXTRA_EACH.get(kind, 0) * count
            yield found

    def _part(self, found: Type, data: bytes, at: int, bit_fields: int) -> None:
        if found.kind in (_STRUCT, _UNION):
            name, type_number, offset = struct.unpack_from("<III", data, at)
            bits = offset & 0xFFFFFF if bit_fields else offset
            found.members.append(Member(self._name(name), type_number, bits // 8))
        elif found.kind == _ENUM:
            name, value = struct.unpack_from("<Ii", data, at)
            found.values[self._name(name)] = value & 0xFFFFFFFF
        elif found.kind == _ENUM64:
            name, low, high = struct.unpack_from("<III", data, at)
            found.values[self._name(name)] = high << 32 | low


def elf_section(data: bytes, wanted: str) -> bytes:
    """Contents of a section of a 64-bit little-endian ELF file.

    Raises:
        ValueError: no such file or section.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    table, entry, count, names = (*struct.unpack_from("<Q", data, 0x28), *struct.unpack_from("<HHH", data, 0x3A))
    headers = [struct.unpack_from("<IIQQQQ", data, table + index * entry) for index in range(count)]
    names_at = headers[names][4]
    for name, _, _, _, offset, size in headers:
        start = names_at + name
        if data[start : data.index(b"\0", start)].decode() == wanted:
            return data[offset : offset + size]
    raise ValueError(f"no section {wanted}")
