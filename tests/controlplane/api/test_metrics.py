"""The metrics file: what stands in it after what happened, and a plane whose file cannot be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.errors import SettingsInvalid
from controlplane.settings import MetricsSettings, Settings
from rubicon.v1 import event_pb2, response_pb2, response_service_pb2, sensor_service_pb2
from tests.controlplane.builders import Kernel, key, tunnel
from tests.controlplane.stage import Stage

ROOT = key(100)
ACTIONS = ("kill", "freeze", "isolate", "release")


def staged(folder: Path, file: str = "rubicon.prom") -> Stage:
    return Stage(folder, Settings(metrics=MetricsSettings(file=str(folder / file), every=0.05)))


def read(folder: Path) -> dict[tuple[str, ...], float]:
    """(name, values of its labels) -> value."""
    families = text_string_to_metric_families((folder / "rubicon.prom").read_text())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


async def test_what_was_done_is_counted_by_its_word(tmp_path: Path) -> None:
    target = response_pb2.Target(agent="rollout")

    async def obey(_: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        response = response_pb2.Response(state=response_pb2.RESPONSE_STATE_VERIFIED, elapsed_ns=20_000_000)
        return sensor_service_pb2.CommandResult(response=response)

    async def refuse(_: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        response = response_pb2.Response(state=response_pb2.RESPONSE_STATE_FAILED, error="no")
        return sensor_service_pb2.CommandResult(response=response)

    async with staged(tmp_path) as stage:
        async with asyncio.timeout(10):
            while not (tmp_path / "rubicon.prom").exists():
                await asyncio.sleep(0.01)
        begun = read(tmp_path)
        assert {begun["rubicon_responses_total", action, "verified"] for action in ACTIONS} == {0}
        assert begun["rubicon_sensors",] == 0
        link, kernel = await stage.connect(capabilities=["kill", "contain"]), Kernel()
        await link.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
        api = stage.api()
        for call, request in (
            (api.Freeze, response_service_pb2.FreezeRequest(target=target)),
            (api.Isolate, response_service_pb2.IsolateRequest(target=target)),
            (api.Release, response_service_pb2.ReleaseRequest(target=target)),
        ):
            await asyncio.gather(call(request), link.answer(obey))
        await asyncio.gather(api.Freeze(response_service_pb2.FreezeRequest(target=target)), link.answer(refuse))
        await link.deliver([kernel.event(None, contain=event_pb2.Contain(frozen=True))])
        living = ("rubicon_agents", "living")
        async with asyncio.timeout(10):
            while not (now := read(tmp_path)).get(("rubicon_agents", "frozen")):
                await asyncio.sleep(0.01)
        assert (now[living], now["rubicon_agents", "isolated"], now["rubicon_sensors",]) == (1, 0, 1)
        assert now["rubicon_alerts_total", "ssh-remote-forward", "high"] == 1
        assert now["rubicon_events_total",] > 3
        await asyncio.gather(api.Kill(response_service_pb2.KillRequest(target=target)), link.answer(obey))
        async with asyncio.timeout(10):
            while not (now := read(tmp_path))["rubicon_responses_total", "kill", "verified"]:
                await asyncio.sleep(0.01)
        assert {now["rubicon_responses_total", action, "verified"] for action in ACTIONS} == {1}
        assert now["rubicon_responses_total", "freeze", "requested"] == 2
        assert now["rubicon_responses_total", "freeze", "failed"] == 1
        for action in ACTIONS:
            assert now["rubicon_response_duration_seconds_sum", action] == pytest.approx(0.02)
            assert now["rubicon_response_duration_seconds_bucket", action, "0.01"] == 0
            assert now["rubicon_response_duration_seconds_bucket", action, "0.025"] == 1
        assert now[living] == 0
    assert not (tmp_path / "rubicon.prom").exists()


@pytest.mark.parametrize(
    ("file", "words"),
    [("none/rubicon.prom", "cannot be written"), ("rubicon.txt", "end in .prom"), ("made.prom", "cannot be written")],
)
async def test_a_file_that_cannot_be(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / "made.prom").mkdir()
    stage = staged(tmp_path, file)
    with pytest.raises(SettingsInvalid, match=words):
        await stage.start()
