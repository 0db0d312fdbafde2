"""A local socket that serves a real kernel's agents."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from rubicon.v1 import tokens
from sensor.local.context import Context
from sensor.local.server import LocalServer
from sensor.settings import LocalSettings, Settings
from tests.sensor.act.conftest import stage
from tests.sensor.act.stage import Stage

__all__ = ["stage"]
NOBODY = 65534


@dataclass
class Served:
    """The server, its stage, and a caller."""

    stage: Stage
    server: LocalServer
    key: bytes

    @property
    def path(self) -> str:
        return str(self.stage.instance.sensor_socket)

    async def send(self, line: bytes) -> dict[str, Any]:
        """One raw line, one answer."""
        reader, writer = await asyncio.open_unix_connection(self.path, limit=1 << 20)
        try:
            writer.write(line)
            answer: dict[str, Any] = json.loads(await reader.readline())
            return answer
        finally:
            writer.close()

    async def call(self, op: str, **request: Any) -> dict[str, Any]:
        return await self.send(json.dumps({"op": op, **request}).encode() + b"\n")


@pytest.fixture
async def served(stage: Stage) -> AsyncIterator[Served]:
    instance = stage.instance
    instance.run_dir.mkdir(mode=0o755)
    key = tokens.ensure_key(instance)
    threads = ThreadPoolExecutor(4)
    local = LocalSettings(idle_s=0.5, write_s=0.5, connections=12, connections_per_uid=4, tamper_s=0.2)
    server = LocalServer(
        Context(
            containment=stage.containment,
            instance=instance,
            settings=Settings(local=local),
            enroller=stage.enroller,
            killer=stage.killer,
            watch=stage.watch,
            emit=stage.events.append,
            key=key,
            threads=threads,
            status=lambda: {"uplink": "connected"},
        )
    )
    await server.start(NOBODY)
    try:
        yield Served(stage, server, key)
    finally:
        await server.stop()
        threads.shutdown()
        shutil.rmtree(instance.run_dir)
