"""The privileged daemon of a host: it watches agents from the kernel, ships what they did, and stops them."""

from __future__ import annotations

import sys


def _import_structlog_lean() -> None:
    """Import structlog without rich, which it takes where it finds it: 4 MB for tracebacks that no daemon prints."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # documented: an import of it fails
    try:
        import structlog  # noqa: F401
    except ModuleNotFoundError as missing:
        if missing.name != "structlog":
            raise
        # the reader of SSH configurations runs with the standard library alone
    finally:
        del sys.modules["rich"]


_import_structlog_lean()
