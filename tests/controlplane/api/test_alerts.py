"""AlertService: past, and live without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.errors import TooSlow
from controlplane.settings import Settings, WatchSettings
from rubicon.v1 import alert_pb2, alert_service_pb2, coverage_pb2
from tests.controlplane.builders import AGENT, Kernel, key, tunnel
from tests.controlplane.stage import Stage, reason, until

HIGH = alert_pb2.SEVERITY_HIGH
ROOT = key(100)
Watch = alert_service_pb2.WatchAlertsRequest


async def take(stream: AsyncIterator[Any], count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await anext(stream) for _ in range(count)]


async def test_alert_names_process_flow_evidence_and_what_was_not_seen(stage: Stage) -> None:
    missing = coverage_pb2.CoverageFact(
        fact="unix_connect", state=coverage_pb2.COVERAGE_STATE_MISSING, missing="no such hook here"
    )
    link = await stage.connect(coverage=coverage_pb2.Coverage(facts=[missing]))
    kernel = Kernel()
    child = key(101)
    await link.deliver([kernel.enrol(ROOT), kernel.exec(ROOT, "bash"), kernel.fork(ROOT, child)])
    await link.deliver(tunnel(kernel, child))
    found = (await stage.api().ListAlerts(alert_service_pb2.ListAlertsRequest(min_severity=HIGH))).alerts
    assert [a.detector for a in found] == ["ssh-remote-forward"]
    alert = found[0]
    assert (alert.agent_id, alert.agent_name, alert.host) == (AGENT, "rollout", "rome")
    assert alert.process.id.pid == 101
    assert list(alert.process.argv)[:3] == ["ssh", "-N", "-R"]
    assert [p.id.pid for p in alert.ancestors] == [100]
    assert alert.flow.destination == "203.0.113.9:443"
    assert alert.evidence[0].record.sequence
    assert list(alert.coverage) == ["unix_connect: no such hook here"]
    one = await stage.api().GetAlert(alert_service_pb2.GetAlertRequest(id=alert.id))
    assert one.alert == alert


async def test_list_filters_and_pages(stage: Stage) -> None:
    link = await stage.connect()
    kernel, other = Kernel(), Kernel("bbbb00000001", epoch=78)
    await link.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    await link.deliver([other.enrol(key(200), name="second"), *tunnel(other, key(200), cookie=6)])
    api = stage.api()
    ids = []
    token = ""
    while True:
        page = await api.ListAlerts(alert_service_pb2.ListAlertsRequest(page_size=1, page_token=token))
        ids += [a.id for a in page.alerts]
        token = page.next_page_token
        if not token:
            break
    assert len(ids) == len(set(ids)) == 4
    mine = await api.ListAlerts(alert_service_pb2.ListAlertsRequest(agent="second"))
    assert {a.agent_name for a in mine.alerts} == {"second"}
    far = alert_service_pb2.ListAlertsRequest(since=Timestamp(seconds=4_000_000_000))
    assert not (await api.ListAlerts(far)).alerts
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.ListAlerts(alert_service_pb2.ListAlertsRequest(agent="nobody"))
    assert reason(caught.value) == "AGENT_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.GetAlert(alert_service_pb2.GetAlertRequest(id="ffff"))
    assert reason(caught.value) == "NOT_FOUND"


async def test_watch(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    stream = aiter(stage.api().WatchAlerts(Watch(min_severity=HIGH)))
    (first,) = await take(stream, 1)
    assert not first.HasField("alert"), "the watch stands"
    await link.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    (news,) = await take(stream, 1)
    assert (news.alert.detector, news.alert.severity) == ("ssh-remote-forward", HIGH)


async def test_watch_with_what_exists_has_no_gap_and_no_duplicate(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    stream = aiter(stage.api().WatchAlerts(Watch(agent="rollout", include_existing=True)))
    first, *existing = await take(stream, 3)
    assert not first.HasField("alert")
    assert {r.alert.detector for r in existing} == {"ssh-outbound", "ssh-remote-forward"}
    await link.deliver(tunnel(kernel, key(101), cookie=6))
    later = await take(stream, 2)
    assert not {r.alert.id for r in later} & {r.alert.id for r in existing}


async def test_watchers_see_masked_alerts_and_do_not_share_them(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    hidden = aiter(stage.api(uid=1000).WatchAlerts(Watch(min_severity=HIGH)))
    shown = aiter(stage.api().WatchAlerts(Watch(min_severity=HIGH, show_secrets=True)))
    await take(hidden, 1)
    await take(shown, 1)
    events = tunnel(kernel, ROOT)
    events[0].exec.argv.extend([b"--token", b"s3"])
    await link.deliver([kernel.enrol(ROOT), *events])
    assert (await take(hidden, 1))[0].alert.process.argv[-1] == "***"
    assert (await take(shown, 1))[0].alert.process.argv[-1] == "s3"


async def test_a_slow_watcher_is_told_so(tmp_path: Path) -> None:
    async with Stage(tmp_path, Settings(watch=WatchSettings(queue=2))) as stage:
        link = await stage.connect()
        with stage.plane.hub.watch_alerts() as watch:
            kernel = Kernel()
            await link.deliver([kernel.enrol(ROOT)])
            for n in range(4):
                await link.deliver(tunnel(kernel, key(200 + n), cookie=n + 5))
            waiting = aiter(watch)
            await take(waiting, 2)
            with pytest.raises(TooSlow, match="alerts waited"):
                await anext(waiting)


async def test_too_many_watchers_and_their_end_frees_them(tmp_path: Path) -> None:
    async with Stage(tmp_path, Settings(watch=WatchSettings(watchers=1))) as stage:
        first = stage.api().WatchAlerts(Watch())
        await take(aiter(first), 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await take(aiter(stage.api().WatchAlerts(Watch())), 1)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(caught.value) == "OVERLOADED"
        first.cancel()
        await until(lambda: stage.plane.hub.followers == 0, "the watch has ended")
        await take(aiter(stage.api().WatchAlerts(Watch())), 1)
