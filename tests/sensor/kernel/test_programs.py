"""The table of hooks and the sources say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sensor.kernel.programs import OBJECTS, SHARED_MAPS, AttachType, How, Object, When

BPF = Path(__file__).parents[3] / "bpf"
_SECTION = re.compile(r'^SEC\("([^"]+)"\)\n(?:int|__u64) (?:BPF_PROG\()?(\w+)', re.MULTILINE)
_CGROUP_SECTIONS = {
    "cgroup/sock_create": AttachType.CGROUP_INET_SOCK_CREATE,
    "cgroup/post_bind4": AttachType.CGROUP_INET4_POST_BIND,
    "cgroup/post_bind6": AttachType.CGROUP_INET6_POST_BIND,
    "cgroup/connect4": AttachType.CGROUP_INET4_CONNECT,
    "cgroup/connect6": AttachType.CGROUP_INET6_CONNECT,
    "cgroup/sendmsg4": AttachType.CGROUP_UDP4_SENDMSG,
    "cgroup/sendmsg6": AttachType.CGROUP_UDP6_SENDMSG,
    "cgroup/connect_unix": AttachType.CGROUP_UNIX_CONNECT,
    "cgroup/sendmsg_unix": AttachType.CGROUP_UNIX_SENDMSG,
    "cgroup/setsockopt": AttachType.CGROUP_SETSOCKOPT,
    "cgroup_skb/ingress": AttachType.CGROUP_INET_INGRESS,
    "cgroup_skb/egress": AttachType.CGROUP_INET_EGRESS,
    "sockops": AttachType.CGROUP_SOCK_OPS,
}
_OTHER_SECTIONS = {"raw_tp": How.RUN, "iter": How.ITERATOR, "tp_btf": How.TRACEPOINT_BTF, "tracepoint": How.TRACEPOINT}


def test_every_source_has_an_entry_and_every_entry_a_source() -> None:
    assert sorted(entry.name for entry in OBJECTS) == sorted(path.name[:-6] for path in BPF.glob("*.bpf.c"))


@pytest.mark.parametrize("entry", OBJECTS, ids=lambda entry: entry.name)
def test_every_program_is_attached_as_its_section_says(entry: Object) -> None:
    sections = {name: section for section, name in _SECTION.findall((BPF / f"{entry.name}.bpf.c").read_text())}
    assert set(sections) == {program.name for program in entry.programs}
    for program in entry.programs:
        section = sections[program.name]
        if program.how is How.CGROUP:
            assert _CGROUP_SECTIONS[section] == program.attach_type
        else:
            assert _OTHER_SECTIONS[section.partition("/")[0]] is program.how


def test_pins_have_names_of_their_own() -> None:
    pins = [program.pin for entry in OBJECTS for program in entry.programs]
    assert len(set(pins)) == len(pins)
    assert all("." not in pin for pin in pins), "a bpf file system refuses them"


def test_who_gives_tags_is_attached_after_who_takes_them_away() -> None:
    order = [entry.name for entry in OBJECTS]
    for giver in ("exec", "join", "fork"):
        assert order.index("exit") < order.index(giver)
        assert all(order.index(hook) < order.index(giver) for hook in ("socket", "connect", "send", "bind"))


def test_shared_maps_are_those_of_the_header() -> None:
    header = (BPF / "maps.bpf.h").read_text()
    named = re.findall(r"^(?:MAP_HASH\((\w+)|MAP_ARRAY\((\w+)|\} (\w+) SEC)", header, re.MULTILINE)
    assert sorted(SHARED_MAPS) == sorted("".join(each) for each in named if "NAME" not in each)


def test_nothing_is_host_wide_but_what_costs_nobody() -> None:
    """The design's rule: no syscall tracepoint and no per-packet program on the root in the default set."""
    for entry in OBJECTS:
        for program in entry.programs:
            if program.when is When.ALWAYS:
                assert program.how is not How.TRACEPOINT
                assert program.attach_type not in (AttachType.CGROUP_INET_INGRESS, AttachType.CGROUP_INET_EGRESS) or (
                    program.how is not How.CGROUP
                )
