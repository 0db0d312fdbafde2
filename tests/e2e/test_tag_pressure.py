"""A real sensor whose tag hash an agent fills: it is killed, and everybody can read why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.host import Host, until

pytestmark = pytest.mark.root
ENTRIES = 512


@pytest.fixture(scope="module")
def small(own_host: Host) -> Iterator[Host]:
    """Up, with places for few processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUBICON_SENSOR_KERNEL_TAG_MEMORY_BYTES", str(ENTRIES * 96))
        done = own_host.rubicon("up")
        assert done.returncode == 0, done.stderr
        yield own_host


def test_who_fills_the_tag_hash_is_killed_and_named(small: Host) -> None:
    fork = "while :; do sleep 600 & done"
    done = small.rubicon("run", "-q", "--name", "filler", "--", "sh", "-c", fork)
    assert done.returncode == 137
    assert "the tag hash is nearly full" in done.stderr
    [alert] = until(lambda: [each for each in small.json("alerts") if each["detector"] == "tag-pressure"])
    assert (alert["severity"], alert["title"]) == ("critical", "Filled the tag hash with processes")
    [counts] = [evidence["fields"] for evidence in alert["evidence"]]
    assert (int(counts["capacity"]), int(counts["high_water"])) == (ENTRIES, ENTRIES * 7 // 8)
    assert int(counts["processes"]) > ENTRIES // 2
    assert int(counts["limit"]) > int(counts["high_water"])
    agent = until(lambda: next((each for each in small.json("ps", "-a") if each["state"] == "killed"), None))
    assert (agent["name"], agent["reason"]) == ("filler", "the tag hash is nearly full")
    assert small.rubicon("run", "-q", "--", "true").returncode == 0, "there is room again"
