"""tp_btf/cgroup_attach_task: who comes into an agent's cgroup, who leaves it, and who brought whom. The first owner stays."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable

import pytest

from rubicon.v1 import event_pb2
from sensor.kernel.enums import AgentFlag, TagFlag
from tests.kernel.watched import AGENT, OTHER, Watched, until

pytestmark = pytest.mark.root

ENROLLED, LEFT = event_pb2.JOIN_REASON_ENROLLED, event_pb2.JOIN_REASON_LEFT
STRANGER, CONTESTED = event_pb2.JOIN_REASON_STRANGER, event_pb2.JOIN_REASON_CONTESTED
_MOVE = "import os, sys\nopen(sys.argv[1] + '/cgroup.procs', 'w').write(sys.argv[2])\n"


def test_join_tags_who_is_moved_into_an_enrolled_cgroup(watched: Watched) -> None:
    child = watched.held("true")
    start_time = watched.start_time(child.pid)
    watched.move(child.pid, watched.cgroup)
    event = watched.one("join")
    assert event.join.reason == ENROLLED
    assert (event.join.target.pid, event.join.target.start_time_ns) == (child.pid, start_time)
    assert event.join.cgroup_id == watched.cgroup.stat().st_ino
    assert event.process.pid == os.getpid(), "the mover"
    tag = watched.kernel.tags.get(child.pid)
    assert tag
    assert (tag.agent, tag.start_time, tag.flags) == (AGENT, start_time, TagFlag.JOINED)
    watched.go(child)
    assert watched.exec_of("true").process.pid == child.pid
    watched.empty()


def test_join_of_a_cgroup_below_an_enrolled_one(watched: Watched) -> None:
    below = watched.cgroup / "below"
    below.mkdir()
    child = watched.held("true")
    watched.move(child.pid, below)
    assert watched.one("join").join.cgroup_id == below.stat().st_ino
    assert watched.tagged() == {child.pid}


def test_join_of_a_process_that_has_ended_leaves_no_tag(watched: Watched) -> None:
    child = subprocess.Popen(["true"])
    until(lambda: os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG), "the zombie")
    watched.move(child.pid, watched.cgroup)
    child.wait()
    assert not watched.tagged()


def test_join_within_the_agents_own_cgroups_is_no_event(watched: Watched) -> None:
    below = watched.cgroup / "below"
    below.mkdir()
    child = watched.start("true")
    watched.move(child.pid, below)
    watched.move(child.pid, watched.cgroup)
    assert not watched.of("join")


def test_leaving_the_cgroup_is_told_and_stays_watched(watched: Watched) -> None:
    child = watched.start("sh", "-c", "true & wait")
    watched.move(child.pid, watched.root)
    event = watched.one("join")
    assert (event.join.reason, event.join.target.pid) == (LEFT, child.pid)
    assert event.join.cgroup_id == watched.root.stat().st_ino
    assert watched.flags() & AgentFlag.LEAVERS
    tag = watched.kernel.tags.get(child.pid)
    assert tag
    assert tag.flags & TagFlag.LEFT
    watched.go(child)
    born = watched.one("fork").fork
    assert born.cgroup_id == watched.root.stat().st_ino
    assert watched.ended(child.pid)
    watched.empty()


def test_leaving_the_cgroup_is_inherited(watched: Watched) -> None:
    """A child of one that left is outside as well: its sockets are followed on the root."""
    child = watched.start("sh", "-c", "sleep 60 & wait")
    watched.move(child.pid, watched.root)
    watched.go(child)
    until(lambda: watched.count() == 2, "the child")
    flags = {pid: tag.flags for pid, tag in watched.kernel.tags.items()}
    assert flags.pop(child.pid) == TagFlag.ROOT | TagFlag.LEFT
    assert list(flags.values()) == [TagFlag.LEFT]
    for pid in watched.tagged():
        os.kill(pid, 9)


def test_leaving_the_cgroup_and_coming_back_does_not_hide_it(watched: Watched) -> None:
    child = watched.start("true")
    watched.move(child.pid, watched.root)
    watched.move(child.pid, watched.cgroup)
    tag = watched.kernel.tags.get(child.pid)
    assert tag
    assert tag.flags & TagFlag.LEFT, "sockets that it made outside stay outside"
    assert [event.join.reason for event in watched.of("join")] == [LEFT]


def test_first_owner_stays_when_a_second_tags(watched: Watched) -> None:
    child = watched.start("true")
    start_time = watched.start_time(child.pid)
    assert not watched.kernel.tags.add(child.pid, OTHER, start_time, 0)
    assert watched.kernel.tags.add(child.pid, AGENT, start_time, TagFlag.LEFT), "the same owner adds flags"
    assert watched.tagged() == {child.pid}
    assert watched.count() == 1


def test_first_owner_stays_when_a_second_enrols_the_cgroup(watched: Watched) -> None:
    number = watched.cgroup.stat().st_ino
    assert not watched.kernel.cgroups.add(number, OTHER)
    assert watched.kernel.cgroups.add(number, AGENT)
    assert dict(watched.kernel.cgroups.items()) == {number: AGENT}


def test_first_owner_stays_when_its_process_joins_anothers_cgroup(watched: Watched) -> None:
    other = watched.enrol_cgroup("other", OTHER)
    child = watched.start("true")
    watched.move(child.pid, other)
    event = watched.one("join")
    assert event.join.reason == CONTESTED
    assert (int(event.agent_id, 16), int(event.join.cgroup_agent_id, 16)) == (AGENT, OTHER)
    assert (watched.tagged(AGENT), watched.tagged(OTHER)) == ({child.pid}, set())
    watched.go(child)
    assert int(watched.exec_of("true").agent_id, 16) == AGENT


def test_first_owner_stays_when_a_child_is_born_into_anothers_cgroup(
    watched: Watched, compiled: Callable[[str], str]
) -> None:
    other = watched.enrol_cgroup("other", OTHER)
    _, output = watched.run(compiled("clone"), "into", str(other))
    event = watched.one("join")
    assert (event.join.reason, event.join.target.pid) == (CONTESTED, int(output))
    assert int(watched.exec_of("true").agent_id, 16) == AGENT


def test_stranger_moved_in_by_an_agent_stays_untagged(watched: Watched) -> None:
    stranger = watched.held("sh", "-c", "true & wait; true")
    start_time = watched.start_time(stranger.pid)
    mover, _ = watched.python(_MOVE, watched.cgroup, stranger.pid)
    event = watched.one("join")
    assert event.join.reason == STRANGER
    assert (event.join.target.pid, event.join.target.start_time_ns) == (stranger.pid, start_time)
    assert event.process.pid == mover
    assert watched.flags() & AgentFlag.STRANGER, "no cgroup.kill there from now on"
    watched.go(stranger)
    assert stranger.wait(10) == 0
    watched.empty()
    theirs = [each for each in watched.read() if each.process.pid == stranger.pid]
    assert not theirs, "neither its exec nor its child is the agent's"


def test_stranger_moved_into_another_agents_cgroup_by_an_agent(watched: Watched) -> None:
    other = watched.enrol_cgroup("other", OTHER)
    stranger = watched.held("true")
    watched.python(_MOVE, other, stranger.pid)
    event = watched.one("join")
    assert (event.join.reason, int(event.agent_id, 16), int(event.join.cgroup_agent_id, 16)) == (STRANGER, AGENT, OTHER)
    assert watched.flags(OTHER) & AgentFlag.STRANGER
    assert not watched.flags(AGENT) & AgentFlag.STRANGER
    assert not watched.tagged(OTHER)


def test_stranger_that_an_outsider_moves_again_stays_one(watched: Watched) -> None:
    stranger = watched.held("true")
    watched.python(_MOVE, watched.cgroup, stranger.pid)
    watched.move(stranger.pid, watched.root)
    watched.move(stranger.pid, watched.cgroup)
    assert stranger.pid not in watched.tagged()


def test_stranger_that_finds_no_room_is_not_tagged_either(watched: Watched) -> None:
    strangers = watched.kernel._maps["strangers"]
    for number in range(strangers.max_entries + 1):  # pids that no process can have
        try:
            strangers.update(struct.pack("<I", (1 << 30) + number), bytes(strangers.value_size))
        except OSError:
            break
    else:
        pytest.fail("the map takes more than it has room for")
    outsider, stranger = watched.held("true"), watched.held("sh", "-c", "/bin/true & wait; exec /bin/true")
    watched.python(_MOVE, watched.cgroup, stranger.pid)
    assert watched.one("join").join.reason == STRANGER
    watched.kernel.agents.set_flags(AGENT, on=AgentFlag.CONDEMNED)
    watched.go(stranger)
    assert stranger.wait(10) == 0, "it forks and executes, and does not die for the agent"
    watched.move(outsider.pid, watched.cgroup)
    assert not watched.tagged(), "who else comes could be a stranger"
    assert {event.process.pid for event in watched.read()}.isdisjoint({stranger.pid, outsider.pid})


def test_agent_that_moves_its_own_processes_moves_no_stranger(watched: Watched) -> None:
    code = "import os, sys\nos.mkdir(sys.argv[1])\nopen(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"
    watched.python(code, watched.cgroup / "own")
    watched.empty()
    assert not watched.of("join")
    assert not watched.flags() & AgentFlag.STRANGER


def test_join_of_a_cgroup_that_is_nobodys_is_no_event(watched: Watched) -> None:
    child = watched.held("true")
    elsewhere = watched.cgroups / "elsewhere"
    elsewhere.mkdir()
    watched.move(child.pid, elsewhere)
    watched.move(child.pid, watched.root)
    assert not watched.read()
