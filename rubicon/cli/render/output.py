"""Writes lines, tables and JSON to stdout or stderr. rich is loaded only for a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rubicon.cli.render.safe import json_line

if TYPE_CHECKING:
    from rich.console import Console

Part = tuple[str, str]
"""Text that is safe already, and a rich style (or none)."""
Line = Sequence[Part]


class Output:
    """One stream. Human text has colour only on a terminal, and never where NO_COLOR is set (no-color.org)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._console: Console | None = None
        encoding = (getattr(self.stream, "encoding", "") or "ascii").lower()
        self.unicode = "utf" in encoding

    def line(self, parts: Line) -> None:
        """One line; on a terminal it is cut at the edge, elsewhere it is whole. It is flushed."""
        if self.terminal:
            from rich.text import Text

            text = Text(no_wrap=True, overflow="ellipsis")
            for words, style in parts:
                text.append(words, style or None)
            self._rich().print(text, crop=True, no_wrap=True, overflow="ellipsis")
            self.stream.flush()
        else:
            self.text("".join(words for words, _ in parts))

    def wrapped(self, parts: Line) -> None:
        """One paragraph, wrapped at words on a terminal, a single line elsewhere."""
        if self.terminal:
            from rich.text import Text

            text = Text()
            for words, style in parts:
                text.append(words, style or None)
            self._rich().print(text)
            self.stream.flush()
        else:
            self.text("".join(words for words, _ in parts))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Part]]) -> None:
        """A table; the last column takes what room is left."""
        rows = list(rows)
        if self.terminal:
            from rich.box import SIMPLE_HEAD
            from rich.table import Table
            from rich.text import Text

            table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
            for place, name in enumerate(columns):
                table.add_column(name, no_wrap=place < len(columns) - 1, overflow="fold")
            for row in rows:
                table.add_row(*(Text(words, style or "") for words, style in row))
            self._rich().print(table)
            return
        cells: list[list[str]] = [[*columns], *([words for words, _ in row] for row in rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
        for line in cells:
            self.text("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def json(self, value: dict[str, Any]) -> None:
        """One object a line, flushed."""
        self.text(json_line(value))

    def text(self, line: str) -> None:
        """A line as it is."""
        if not self.unicode:
            line = line.encode("ascii", "backslashreplace").decode()
        self.stream.write(line + "\n")
        self.stream.flush()

    def icon(self, icon: str, plain: str = "*") -> str:
        """An icon, where the stream can carry it."""
        return icon if self.unicode else plain

    def _rich(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self.stream, highlight=False, markup=False, emoji=False)
        if columns := self._columns():
            self._console.width = columns
        return self._console

    def _columns(self) -> int:
        """Width of this very terminal now (rich would ask that of stdin first); 0 when it is not known."""
        if os.environ.get("COLUMNS", "").isdecimal():
            return 0  # rich keeps that
        try:
            return os.get_terminal_size(self.stream.fileno()).columns
        except (OSError, ValueError):
            return 0
