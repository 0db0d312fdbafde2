"""The plane is restarted in the middle of a tunnel: the alert still comes, once, and so does the kill."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rubicon.v1 import alert_pb2, alert_service_pb2, event_pb2, response_pb2, response_service_pb2, sensor_service_pb2
from tests.controlplane.builders import AGENT
from tests.controlplane.detectors.story import ROOT, Story
from tests.controlplane.stage import Link, Stage

DETECTOR = "ssh-remote-forward"


def tunnel() -> tuple[list[event_pb2.Event], str]:
    """Events of a tunnel by argv that is used, and the id of its alert."""
    story = Story()
    client = story.run(200, "worker", "-NR", "9000:127.0.0.1:8000", "x")
    flow = story.ssh(client)
    story.used(client, flow)
    story.events[0].enrol.on_alert = "kill"
    assert story.events[0].process.pid == ROOT.pid
    return story.events, story.alert().id


EVENTS, ALERT = tunnel()
CUTS = range(1, len(EVENTS) + 1, 4)


async def obey(link: Link, kills: list[sensor_service_pb2.KillCommand]) -> None:
    """Play the sensor's part of kills."""

    async def kill(command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        kills.append(command.kill)
        done = response_pb2.Response(state=response_pb2.RESPONSE_STATE_VERIFIED, killed=2)
        return sensor_service_pb2.CommandResult(response=done)

    while True:
        await link.answer(kill)


async def alerts(stage: Stage) -> list[alert_pb2.Alert]:
    found = await stage.api().ListAlerts(alert_service_pb2.ListAlertsRequest(agent=AGENT))
    return [alert for alert in found.alerts if alert.detector == DETECTOR]


@pytest.mark.parametrize("cut", CUTS)
async def test_one_alert_and_one_kill_wherever_the_plane_was_restarted(tmp_path: Path, cut: int) -> None:
    stage = await Stage(tmp_path).start()
    kills: list[sensor_service_pb2.KillCommand] = []
    obeying: list[asyncio.Task[None]] = []
    try:
        link = await stage.connect()
        await link.deliver(EVENTS[:cut])
        await stage.stop()
        await stage.start()
        link = await stage.connect()
        obeying.append(asyncio.create_task(obey(link, kills)))
        await link.deliver(EVENTS)
        async with asyncio.timeout(10):
            while True:
                found = await stage.api().ListResponses(response_service_pb2.ListResponsesRequest(agent=AGENT))
                verified = [r for r in found.responses if r.state == response_pb2.RESPONSE_STATE_VERIFIED]
                if verified:
                    break
                await asyncio.sleep(0.02)
        (alert,) = await alerts(stage)
        assert alert.id == ALERT
        assert (alert.response, alert.response_id) == ("kill", verified[0].id)
        assert {kill.response_id for kill in kills} == {alert.response_id}
        assert alert.severity >= alert_pb2.SEVERITY_HIGH
    finally:
        for task in obeying:
            task.cancel()
        await asyncio.gather(*obeying, return_exceptions=True)
        await stage.stop()
