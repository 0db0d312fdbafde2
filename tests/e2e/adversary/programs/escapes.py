"""An agent that has every kind of socket, and tries to get a byte out through each.

escapes.py INSIDE4 OUTSIDE4 INSIDE6 OUTSIDE6 TCP UDP [NAME…]: prints "ready", waits for a line, then tries the named ways (all
without one), each again and again in a process of its own, until stdin ends. What it came to does not matter: the other
side counts. Only the standard library.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import itertools
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable

INSIDE4, OUTSIDE4, INSIDE6, OUTSIDE6 = sys.argv[1:5]
TCP_PORT, UDP_PORT = map(int, sys.argv[5:7])
SLOW_PORT = TCP_PORT + 10
"""There nobody reads."""
MPTCP, FASTOPEN, SOCK_PACKET = 262, 0x20000000, 10
LIBC = ctypes.CDLL(None, use_errno=True)
BYTES = b"a byte that must not get out" * 4

ECHO = {1: struct.pack("!BBHHH", 8, 0, 0, 1, 1), 58: struct.pack("!BBHHH", 128, 0, 0, 1, 1)}

Way = Callable[[], None]


def send(made: socket.socket) -> Way:
    """A connected socket goes on."""
    made.setblocking(False)
    return lambda: void(made.send(BYTES))


def void(_: object) -> None:
    """Makes a statement of an expression."""


def tcp(family: int, address: str, protocol: int = 0) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM, protocol)
    made.settimeout(2)
    made.connect((address, TCP_PORT))
    made.send(b"hello")
    made.recv(1)  # both sides have it
    return made


def udp(family: int, address: str) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.connect((address, UDP_PORT))
    return made


def open_connected() -> dict[str, Way]:
    """Connected before."""
    ways = {
        "tcp4-old": send(tcp(socket.AF_INET, OUTSIDE4)),
        "tcp6-old": send(tcp(socket.AF_INET6, OUTSIDE6)),
        "mapped-old": send(tcp(socket.AF_INET6, f"::ffff:{OUTSIDE4}")),
        "udp4-old": send(udp(socket.AF_INET, OUTSIDE4)),
        "udp6-old": send(udp(socket.AF_INET6, OUTSIDE6)),
    }
    with contextlib.suppress(OSError):  # a kernel without
        ways["mptcp-old"] = send(tcp(socket.AF_INET, OUTSIDE4, MPTCP))
    with contextlib.suppress(OSError):
        ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        ways["ping-old"] = lambda: void(ping.sendto(ECHO[1] + BYTES, (OUTSIDE4, 0)))
    unbound, prepared = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
    bound = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    bound.bind(("::", 0))
    ways["udp-unconnected-old"] = lambda: void(unbound.sendto(BYTES, (OUTSIDE4, UDP_PORT)))
    ways["udp-bound-old"] = lambda: void(bound.sendto(BYTES, (f"::ffff:{OUTSIDE4}", UDP_PORT)))
    ways["tcp-made-before"] = lambda: prepared.connect((OUTSIDE4, TCP_PORT))
    ways["closed-old"] = closed
    full = socket.create_connection((OUTSIDE4, SLOW_PORT))
    fill(full)
    ways["in-flight-and-full"] = in_flight(full)
    ways["in-flight"] = in_flight(tcp(socket.AF_INET, OUTSIDE4))
    ways["held-by-a-daemon"] = held_by_a_daemon(tcp(socket.AF_INET, OUTSIDE4))
    ways["by-a-thread"] = by_a_thread(tcp(socket.AF_INET, OUTSIDE4))
    ways["splice"] = splice(tcp(socket.AF_INET, OUTSIDE4))
    ways["multicast"], ways["multicast6"] = joins(udp(socket.AF_INET, OUTSIDE4)), joins6(udp(socket.AF_INET6, OUTSIDE6))
    elsewhere = udp(socket.AF_INET, OUTSIDE4)
    ways["reconnect"] = lambda: void(elsewhere.connect_ex((OUTSIDE4, UDP_PORT + 1)) or elsewhere.send(BYTES))
    listener, accepted = listening()
    if accepted:
        ways["accepted-old"] = send(accepted)
    ways["accept"] = lambda: accept(listener)
    return ways


def closed() -> None:
    """More than the other side takes, and gone: what waits in the kernel is in nobody's hands."""
    with socket.socket() as made:
        made.connect((OUTSIDE4, SLOW_PORT))
        fill(made)


def fill(made: socket.socket) -> None:
    made.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            made.send(bytes(65536))


def listening() -> tuple[socket.socket, socket.socket | None]:
    """A listener that the other side dials, again and again: its port is told there."""
    listener = socket.create_server((INSIDE4, 0), backlog=64)
    with tcp(socket.AF_INET, OUTSIDE4) as told:
        told.send(b"dial %5d" % listener.getsockname()[1])
        listener.settimeout(2)
        with contextlib.suppress(TimeoutError):
            return listener, listener.accept()[0]
    return listener, None


def accept(listener: socket.socket) -> None:
    listener.setblocking(False)
    listener.accept()[0].send(BYTES)


def in_flight(made: socket.socket) -> Way:
    """A descriptor that nobody holds: it waits in a Unix socket until it is taken out."""
    here, there = socket.socketpair()
    there.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
    made.close()
    taken: list[socket.socket] = []

    def go() -> None:
        if not taken:
            _, extra, _, _ = here.recvmsg(1, 64)
            taken.append(socket.socket(fileno=array.array("i", extra[0][2])[0]))
        taken[0].send(BYTES)

    return go


def held_by_a_daemon(made: socket.socket) -> Way:
    """It lives in a process that has forked away twice, in a session of its own."""
    order, hears = os.pipe()[::-1]
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(order)
            with contextlib.suppress(OSError):
                while os.read(hears, 1):
                    with contextlib.suppress(OSError):
                        made.send(BYTES)
        os._exit(0)
    made.close()
    return lambda: void(os.write(order, b"x"))


def by_a_thread(made: socket.socket) -> Way:
    """A thread with a descriptor table of its own."""
    wake, done = threading.Event(), threading.Event()

    def work() -> None:
        LIBC.unshare(0x400)
        while wake.wait():
            wake.clear()
            with contextlib.suppress(OSError):
                made.send(BYTES)
            done.set()

    threading.Thread(target=work, daemon=True).start()

    def go() -> None:
        done.clear()
        wake.set()
        done.wait(1)

    return go


def splice(made: socket.socket) -> Way:
    """By sendfile, of a file."""
    made.setblocking(False)
    descriptor = os.memfd_create("bytes")
    os.write(descriptor, BYTES)
    return lambda: void(os.sendfile(made.fileno(), descriptor, 0, len(BYTES)))


def joins(made: socket.socket) -> Way:
    """A group's address is told to the network by the kernel, with any bytes in it."""
    words = itertools.count(1)

    def go() -> None:
        group = bytes((239, *next(words).to_bytes(3, "big"))) + socket.inet_aton(INSIDE4)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, group)

    return go


def joins6(made: socket.socket) -> Way:
    words = itertools.count(1)

    def go() -> None:
        group = b"\xff\x05" + next(words).to_bytes(14, "big") + struct.pack("I", socket.if_nametoindex("in0"))
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, group)

    return go


def new(family: int, kind: int, protocol: int = 0) -> Way:
    def go() -> None:
        with socket.socket(family, kind, protocol) as made:
            made.settimeout(0.05)
            address, echo = OUTSIDE6 if family == socket.AF_INET6 else OUTSIDE4, ECHO.get(protocol, b"")
            if kind == socket.SOCK_DGRAM:
                made.sendto(echo + BYTES, (address, UDP_PORT))
            else:
                made.connect((address, TCP_PORT))
                made.send(BYTES)

    return go


def fast_open() -> None:
    with socket.socket() as made:
        made.setblocking(False)
        made.sendto(BYTES, FASTOPEN, (OUTSIDE4, TCP_PORT))


def reused_address() -> None:
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((INSIDE4, 0))
        made.connect((OUTSIDE4, TCP_PORT))


def in_namespaces(other: Way) -> Way:
    """In a user and a network namespace of its own, where it has every right."""

    def go() -> None:
        if os.fork() == 0:
            LIBC.unshare(0x50000000)
            with contextlib.suppress(OSError):
                other()
            os._exit(0)

    return go


def packet() -> None:
    with socket.socket(socket.AF_INET, SOCK_PACKET, socket.htons(3)) as made:
        made.sendto(bytes(14) + BYTES, ("in0", 3))


def from_another_cgroup(other: Way) -> Way:
    """Leave first, to the hierarchy's root."""

    def go() -> None:
        if os.fork() == 0:
            root = next(line.split()[4] for line in open("/proc/self/mountinfo") if " - cgroup2 " in line)  # noqa: SIM115
            with contextlib.suppress(OSError), open(f"{root}/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))
            with contextlib.suppress(OSError):
                other()
            os._exit(0)

    return go


def fresh() -> dict[str, Way]:
    """Made after."""
    inet, inet6, stream, datagram = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
    return {
        "tcp4": new(inet, stream),
        "tcp6": new(inet6, stream),
        "mptcp": new(inet, stream, MPTCP),
        "udp4": new(inet, datagram),
        "udp6": new(inet6, datagram),
        "udplite": new(inet, datagram, 136),
        "ping": new(inet, datagram, 1),
        "ping6": new(inet6, datagram, 58),
        "raw": new(inet, socket.SOCK_RAW, 255),
        "sctp": new(inet, stream, 132),
        "smc": new(inet, stream, 256),
        "sock-packet": packet,
        "fast-open": fast_open,
        "reuse-address": reused_address,
        "namespaces": in_namespaces(new(inet, datagram)),
        "left": from_another_cgroup(new(inet, datagram)),
    }


def main() -> None:
    ways = open_connected()
    ways["left-old"] = from_another_cgroup(send(udp(socket.AF_INET, OUTSIDE4)))
    ways["namespaces-old"] = in_namespaces(send(udp(socket.AF_INET, OUTSIDE4)))
    ways["left-closed-old"] = from_another_cgroup(closed)
    ways |= fresh()
    chosen = sys.argv[7:] or list(ways)
    if chosen == ["list"]:
        print(*ways)
        return
    for name in chosen:  # each of them works: nobody is isolated yet
        if "old" in name or name in ("tcp4", "udp4", "fast-open"):
            with contextlib.suppress(OSError):
                ways[name]()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    print("ready", flush=True)
    sys.stdin.readline()
    for rounds in itertools.count(1):
        for name in chosen:
            with contextlib.suppress(OSError, ValueError):
                ways[name]()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        print(rounds, flush=True)
        if select.select([sys.stdin], [], [], 0.001)[0]:
            return


main()
