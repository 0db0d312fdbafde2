"""Who does it all."""

from __future__ import annotations

from typing import Final

AGENT: Final = 0xA6
