"""Structured logs to stderr: JSON when it is not a terminal. Every line has host, and agent where there is one."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any

import orjson
import structlog


def _encode(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str).decode()


def configure(level: int = logging.INFO) -> None:
    """Set structlog up for this process; log lines that the libraries write come out the same way."""
    terminal = sys.stderr.isatty()
    render: Any = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(serializer=_encode)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(host=socket.gethostname(), daemon="plane")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def get(name: str) -> Any:
    """A logger that says which part speaks."""
    return structlog.get_logger(part=name)
