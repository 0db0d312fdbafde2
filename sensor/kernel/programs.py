"""Which object files there are, and how each of their programs is attached: the one table that the loader works from.

To add a hook: write bpf/NAME.bpf.c, add an entry here. The order is that of attaching: whoever gives tags is attached after
whoever takes them away, and the socket hooks before either, so that a half-attached set never leaves a tag behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class How(Enum):
    """The kind of link."""

    TRACEPOINT_BTF = "tp_btf"
    TRACEPOINT = "tracepoint"
    CGROUP = "cgroup"
    ITERATOR = "iter"
    RUN = "run"
    """Not attached: run by the sensor."""


class When(Enum):
    """When a program's link exists."""

    ALWAYS = "always"
    """From open to unload, pinned; cgroup programs on the hierarchy's root."""
    WATCHING = "watching"
    """One link per agent, pinned, on the agent's own cgroup."""
    LEAVERS = "leavers"
    """While somebody has left its agent's cgroup, or has none: pinned, on the hierarchy's root."""
    ISOLATING = "isolating"
    """While an agent is isolated: pinned; cgroup programs on the hierarchy's root."""
    CONDEMNING = "condemning"
    """While an agent is condemned."""
    ASKED = "asked"
    """Iterators and runs: a descriptor in the sensor, never pinned."""


class AttachType:
    """Numbers of enum bpf_attach_type (include/uapi/linux/bpf.h) that are used here."""

    CGROUP_INET_INGRESS = 0
    CGROUP_INET_EGRESS = 1
    CGROUP_INET_SOCK_CREATE = 2
    CGROUP_SOCK_OPS = 3
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET6_CONNECT = 11
    CGROUP_INET4_POST_BIND = 12
    CGROUP_INET6_POST_BIND = 13
    CGROUP_UDP4_SENDMSG = 14
    CGROUP_UDP6_SENDMSG = 15
    CGROUP_SETSOCKOPT = 22
    TRACE_RAW_TP = 23
    TRACE_ITER = 28
    PERF_EVENT = 41
    CGROUP_UNIX_CONNECT = 49
    CGROUP_UNIX_SENDMSG = 50


class ProgramType:
    """Numbers of enum bpf_prog_type, for section names that the host's libbpf may not know."""

    CGROUP_SOCK_ADDR = 18


@dataclass(frozen=True, slots=True)
class Program:
    """One attachment of one program."""

    name: str
    """The C function."""
    how: How
    when: When = When.ALWAYS
    attach_type: int = 0
    """For cgroup programs."""
    tracepoint: str = ""
    """CATEGORY/NAME, for How.TRACEPOINT."""
    link: str = ""
    """File name of the link's pin; the program's name unless set."""
    program_type: int = 0
    """Set before loading where the host's libbpf may not know the section's name; attach_type then as well."""

    @property
    def pin(self) -> str:
        """File name of the link's pin."""
        return self.link or self.name


@dataclass(frozen=True, slots=True)
class Object:
    """One bpf/NAME.bpf.c, and the fact that is lost where the kernel refuses it."""

    name: str
    hook: str
    programs: tuple[Program, ...]
    facts: tuple[str, ...] = ()
    """Facts for coverage; the object's name unless set."""
    fallback_for: str = ""
    """Name of an earlier object: this one is loaded only where that one is refused."""
    partial: str = ""
    """What it does not see even when it is attached."""
    needed: bool = False
    """Without it nothing works, so its refusal is an error."""

    @property
    def named(self) -> tuple[str, ...]:
        """The facts it carries."""
        return self.facts or (self.name,)


_TRACEPOINT, _CGROUP = How.TRACEPOINT_BTF, How.CGROUP

OBJECTS: tuple[Object, ...] = (
    Object("control", "BPF_PROG_TEST_RUN", (Program("control", How.RUN, When.ASKED),), needed=True),
    Object("tasks", "task_seq_show", (Program("tasks", How.ITERATOR, When.ASKED),), needed=True),
    Object(
        "sockets",
        "task_file_seq_show",
        (Program("tag_sockets", How.ITERATOR, When.ASKED), Program("list_sockets", How.ITERATOR, When.ASKED)),
    ),
    Object("exit", "sched_process_exit", (Program("process_exit", _TRACEPOINT),)),
    Object("tamper", "signal_generate", (Program("signal_generate", _TRACEPOINT),)),
    Object(
        "socket",
        "inet_create",
        (Program("socket_create", _CGROUP, attach_type=AttachType.CGROUP_INET_SOCK_CREATE),),
        partial="only sockets of AF_INET and AF_INET6: AF_PACKET, AF_VSOCK, AF_XDP, AF_UNIX, AF_NETLINK and other families "
        "pass no cgroup hook when they are made",
    ),
    Object(
        "bind",
        "inet_bind",
        (
            Program("bind4", _CGROUP, attach_type=AttachType.CGROUP_INET4_POST_BIND),
            Program("bind6", _CGROUP, attach_type=AttachType.CGROUP_INET6_POST_BIND),
        ),
    ),
    Object(
        "connect",
        "pre_connect",
        (
            Program("connect4", _CGROUP, attach_type=AttachType.CGROUP_INET4_CONNECT),
            Program("connect6", _CGROUP, attach_type=AttachType.CGROUP_INET6_CONNECT),
        ),
    ),
    Object(
        "send",
        "udp_sendmsg",
        (
            Program("send4", _CGROUP, attach_type=AttachType.CGROUP_UDP4_SENDMSG),
            Program("send6", _CGROUP, attach_type=AttachType.CGROUP_UDP6_SENDMSG),
        ),
        partial="only UDP: what raw and ICMP sockets send is seen packet by packet, by payload",
    ),
    Object(
        "unix_connect",
        "unix_stream_connect",
        (
            Program(
                "unix_connect",
                _CGROUP,
                attach_type=AttachType.CGROUP_UNIX_CONNECT,
                program_type=ProgramType.CGROUP_SOCK_ADDR,
            ),
        ),
    ),
    Object(
        "unix_send",
        "unix_dgram_sendmsg",
        (
            Program(
                "unix_send",
                _CGROUP,
                attach_type=AttachType.CGROUP_UNIX_SENDMSG,
                program_type=ProgramType.CGROUP_SOCK_ADDR,
            ),
        ),
    ),
    Object(
        "state",
        "inet_sock_set_state",
        (Program("state", _TRACEPOINT),),
        facts=("listen", "establish", "close"),
    ),
    Object(
        "establish",
        "tcp_init_transfer",
        (Program("establish", _CGROUP, attach_type=AttachType.CGROUP_SOCK_OPS),),
        fallback_for="state",
    ),
    Object(
        "payload",
        "ip_finish_output, sk_filter",
        (
            Program("payload_ingress", _CGROUP, When.WATCHING, AttachType.CGROUP_INET_INGRESS),
            Program("payload_egress", _CGROUP, When.WATCHING, AttachType.CGROUP_INET_EGRESS),
            Program("leaver_ingress", _CGROUP, When.LEAVERS, AttachType.CGROUP_INET_INGRESS),
            Program("leaver_egress", _CGROUP, When.LEAVERS, AttachType.CGROUP_INET_EGRESS),
        ),
        facts=("payload", "packet"),
    ),
    Object(
        "destroy",
        "tcp4_seq_show, udp4_seq_show",
        (Program("destroy_tcp", How.ITERATOR, When.ASKED), Program("destroy_udp", How.ITERATOR, When.ASKED)),
    ),
    Object(
        "handed",
        "sock_send_length, ip_finish_output",
        (
            Program("handed_send", _TRACEPOINT, When.ISOLATING),
            Program("handed_egress", _CGROUP, When.ISOLATING, AttachType.CGROUP_INET_EGRESS),
        ),
    ),
    Object(
        "multicast",
        "do_sock_setsockopt",
        (Program("multicast", _CGROUP, When.ISOLATING, AttachType.CGROUP_SETSOCKOPT),),
    ),
    Object("exec", "sched_process_exec", (Program("process_exec", _TRACEPOINT),)),
    Object("join", "cgroup_attach_task", (Program("cgroup_attach", _TRACEPOINT),)),
    Object("fork", "sched_process_fork", (Program("process_fork", _TRACEPOINT),)),
    Object(
        "condemn",
        "sys_enter_clone",
        tuple(
            Program(
                "condemn",
                How.TRACEPOINT,
                When.CONDEMNING,
                tracepoint=f"syscalls/sys_enter_{call}",
                link=f"condemn_{call}",
            )
            for call in ("clone", "clone3", "fork", "vfork")
        ),
    ),
)

SHARED_MAPS = (
    "ring",
    "tags",
    "cgroups",
    "agents",
    "strangers",
    "untagged",
    "untagged_count",
    "allows",
    "losses",
    "hook_config",
    "sequences",
    "woken",
    "isolating",
    "tag_filter",
    "tag_count",
    "owners",
    "held_mptcp",
)
"""Maps of maps.bpf.h: one of each for all objects, joined by pin. Any other map is its object's own."""
