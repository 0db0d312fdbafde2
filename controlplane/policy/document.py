"""Reads a YAML document of settings, safely, and knows the line of everything in it.

Nothing is constructed from the document but text, numbers, lists and mappings. What makes a small file large or deep
(aliases, nesting without end) is refused, and so is a key that stands twice: whoever reads the file sees one rule, and
that rule holds.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

from controlplane.errors import SettingsInvalid

MOST_BYTES = 256 * 1024
"""A thousand rules with labels are half of it."""
_DEEPEST = 20
_STRING, _INTEGER, _NULL, _LIST, _MAPPING = (
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "null", "seq", "map")
)


def text_of(path: Path) -> str:
    """The text of a settings file that only its owner and root can have written.

    Raises:
        SettingsInvalid: it is missing, no ordinary file, too large, not readable or not UTF-8, or others may write it.
    """
    try:
        # a FIFO must not hold up the start
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SettingsInvalid(
            f"{path}: cannot be read: {error.strerror}", "correct the path or the file's rights"
        ) from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise SettingsInvalid(f"{path}: is no ordinary file", "give a file")
        if facts.st_mode & 0o022 or facts.st_uid not in (0, os.geteuid()):
            hint = f"chown root {path}; chmod go-w {path}"
            raise SettingsInvalid(f"{path}: others than root may write it, and so decide whom it stops", hint)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(raw) > MOST_BYTES:
        raise SettingsInvalid(f"{path}: larger than {MOST_BYTES} bytes", "use fewer rules: labels can name many agents")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsInvalid(f"{path}:{line}: is not UTF-8", "save the file as UTF-8") from None


@dataclass(frozen=True, slots=True)
class Value:
    """A part of the document, and where it stands."""

    node: yaml.Node
    file: str

    @property
    def line(self) -> int:
        """From 1."""
        return int(self.node.start_mark.line) + 1

    def wrong(self, message: str, hint: str) -> NoReturn:
        """Raise SettingsInvalid about this part; `hint` says what to do."""
        raise SettingsInvalid(f"{self.file}:{self.line}: {message}", hint)

    @property
    def empty(self) -> bool:
        """Nothing was written."""
        return self.node.tag == _NULL

    @property
    def is_list(self) -> bool:
        """It is a list."""
        return isinstance(self.node, yaml.SequenceNode) and self.node.tag == _LIST

    def text(self, what: str) -> str:
        """A string.

        Raises:
            SettingsInvalid: it is something else; `what` names it.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            self.wrong(f"{what} must be text, not {_kind(self.node)}", "write one word")
        if self.node.tag != _STRING:
            word = self.node.value
            if self.empty:
                self.wrong(f"{what} is empty", "write a value, or leave the key out")
            self.wrong(f"{what} must be text, and YAML takes {word} for something else", f"write it as '{word}'")
        return str(self.node.value)

    def number(self, what: str, least: int, most: int) -> int:
        """A whole number in these bounds.

        Raises:
            SettingsInvalid: it is something else.
        """
        hint = f"write a whole number from {least} to {most}"
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag != _INTEGER:
            self.wrong(f"{what} must be a number, not {_kind(self.node)}", hint)
        try:
            found = int(self.node.value, 10)
        except ValueError:  # YAML's hexadecimal, octal and base 60
            self.wrong(f"{what} must be a decimal number, not {self.node.value}", hint)
        if not least <= found <= most:
            self.wrong(f"{what} must not be {found}", hint)
        return found

    def items(self, what: str) -> list[Value]:
        """The items of a list.

        Raises:
            SettingsInvalid: it is none.
        """
        if not isinstance(self.node, yaml.SequenceNode) or self.node.tag != _LIST:
            self.wrong(f"{what} must be a list, not {_kind(self.node)}", "begin each item with '- '")
        return [Value(item, self.file) for item in self.node.value]

    def mapping(self, what: str, known: Collection[str] | None = None) -> Mapping[str, Value]:
        """Keys and values, in order.

        Args:
            known: the only keys there are; None for any.

        Raises:
            SettingsInvalid: it is no mapping, a key stands twice, is no text, or is not known.
        """
        if not isinstance(self.node, yaml.MappingNode) or self.node.tag != _MAPPING:
            self.wrong(f"{what} must be a mapping, not {_kind(self.node)}", "write 'key: value' lines")
        found: dict[str, Value] = {}
        for key_node, value_node in self.node.value:
            key = Value(key_node, self.file)
            name = key.text(f"a key of {what}")
            if name in found:
                key.wrong(f"{what} has {name!r} twice, first in line {found[name].line}", "keep one of them")
            if known is not None and name not in known:
                key.wrong(f"{what} has no key {name!r}", f"use {', '.join(sorted(known))}")
            found[name] = Value(value_node, self.file)
        return found


def parse(text: str, file: str) -> Value | None:
    """The document; None when there is nothing in it.

    Args:
        file: its name, for messages.

    Raises:
        SettingsInvalid: it is no YAML, has several documents, aliases or too many levels.
    """
    try:
        node = _Loader(text, file).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SettingsInvalid(f"{file}{line}: {what}", "correct the YAML there") from None
    except yaml.reader.ReaderError as error:
        line_number = text.count("\n", 0, error.position) + 1
        raise SettingsInvalid(f"{file}:{line_number}: a character that YAML does not allow", "remove it") from None
    return None if node is None else Value(node, file)


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str, file: str) -> None:
        super().__init__(text)
        self._file = file
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise SettingsInvalid(f"{self._file}:{line}: *{event.anchor}: aliases are not taken", "write it out")
        if self._depth >= _DEEPEST:
            raise SettingsInvalid(f"{self._file}:{line}: more than {_DEEPEST} levels", "write it flat")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _kind(node: yaml.Node) -> str:
    if node.tag not in (_STRING, _INTEGER, _NULL, _LIST, _MAPPING) and not isinstance(node, yaml.ScalarNode):
        return f"something tagged {node.tag!r}"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if node.tag == _NULL else f"{node.value!r}"
