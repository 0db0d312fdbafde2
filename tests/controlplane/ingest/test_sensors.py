"""The registry of live streams: a command finds its sensor, also one that is just coming back."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.errors import SensorUnreachable
from controlplane.ingest import sensors as module
from controlplane.ingest.sensors import Sensor, Sensors
from controlplane.model import Boot
from rubicon.v1 import coverage_pb2, sensor_service_pb2


def sensor_of(host: str, sent: list[str]) -> Sensor:
    def send(response: sensor_service_pb2.ConnectResponse) -> None:
        sent.append(response.command.id)

    return Sensor(Boot(host, "boot"), (7, 700), send, lambda: None, coverage_pb2.Coverage())


async def test_a_command_waits_for_a_sensor_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETURNS", 60.0)
    registry, sent = Sensors(lambda boot, coverage: None), list[str]()
    asked = asyncio.create_task(registry.command("paris", sensor_service_pb2.Command(id="one"), 60))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not asked.done()
    back = sensor_of("paris", sent)
    await registry.add(back)
    while not sent:
        await asyncio.sleep(0)
    assert registry.answer(back, sensor_service_pb2.CommandResult(id="one"))
    assert (await asked).id == "one"


async def test_one_that_does_not_come_back_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETURNS", 0.01)
    registry = Sensors(lambda boot, coverage: None)
    await registry.add(sensor_of("rome", []))
    with pytest.raises(SensorUnreachable, match="paris"):
        await registry.command("paris", sensor_service_pb2.Command(), 60)
