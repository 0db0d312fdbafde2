"""Values at the edge of what a message can carry get an answer or a typed refusal, never a defect."""

from __future__ import annotations

import base64

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from rubicon.v1 import agent_service_pb2, alert_service_pb2, event_service_pb2, response_service_pb2
from tests.controlplane.builders import Kernel, key, tunnel
from tests.controlplane.stage import Stage, reason

ROOT = key(100)
FAR = Timestamp(seconds=253_402_300_799, nanos=999_999_999)
"""The last moment that a Timestamp can name."""
LONG_AGO = Timestamp(seconds=-62_135_596_800)


async def test_times_that_64_bits_of_nanoseconds_cannot_hold(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    api = stage.api()
    for since, found in ((FAR, 0), (LONG_AGO, 2)):
        request = alert_service_pb2.ListAlertsRequest(since=since)
        assert len((await api.ListAlerts(request)).alerts) == found
        events = [each async for each in api.StreamEvents(event_service_pb2.StreamEventsRequest(since=since))]
        assert bool(events) == bool(found)


@pytest.mark.parametrize("text", ["9" * 40 + "/x", "-" + "9" * 40 + "/x", "x/1", "\0", "1" * 5000])
async def test_page_tokens_of_somebody_else(stage: Stage, text: str) -> None:
    token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    api = stage.api()
    for call in (
        api.ListAgents(agent_service_pb2.ListAgentsRequest(page_token=token)),
        api.ListAlerts(alert_service_pb2.ListAlertsRequest(page_token=token)),
        api.ListResponses(response_service_pb2.ListResponsesRequest(page_token=token)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason(caught.value) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("name", ["", "\0", "'; drop table agents; --", "%", "__", "x" * 100_000, "\u202e"])
async def test_names_that_are_no_agents(stage: Stage, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=name))
    assert reason(caught.value) in ("AGENT_NOT_FOUND", "INVALID_ARGUMENT")
