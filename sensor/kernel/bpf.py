"""bpf(2), as far as it is needed: links, pins, maps, runs. One path for every way of loading a program.

Attribute layouts: union bpf_attr in include/uapi/linux/bpf.h, stable. All functions raise OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_libc = ctypes.CDLL(None, use_errno=True)
_machine = platform.machine()

(_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD, _OBJ_PIN, _OBJ_GET) = range(1, 8)
_PROG_TEST_RUN, _OBJ_INFO, _RAW_TRACEPOINT_OPEN, _LINK_CREATE, _ITER_CREATE, _MAP_LOOKUP_BATCH = 10, 15, 17, 28, 33, 24
_MAP_LOOKUP_AND_DELETE, _MAP_FREEZE, _PROG_NEXT_ID, _ENOTSUPP = 21, 22, 11, 524
_PERF_TYPE_TRACEPOINT, _PERF_FLAG_FD_CLOEXEC, _PERF_SET_BPF, _PERF_ENABLE = 2, 8, 0x40042408, 0x2400

ANY, NOEXIST, EXIST = 0, 1, 2
_BATCH = 4096
"""Entries of a map that are read at once; no bucket of a hash holds as many."""


def call(command: int, attributes: bytes | bytearray) -> tuple[int, bytes]:
    """bpf(command): its result, and the attributes as the kernel left them."""
    buffer = ctypes.create_string_buffer(bytes(attributes), max(len(attributes), 128))
    result = _libc.syscall(_SYSCALL[_machine], command, buffer, len(buffer))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


class Map:
    """A map's descriptor with the sizes of its keys and values in bytes; closes on `close`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        found = map_info(fd)
        self.id, self.key_size, self.value_size, self.max_entries = (
            found.id,
            found.key_size,
            found.value_size,
            found.max_entries,
        )
        self._key = ctypes.create_string_buffer(self.key_size)
        self._next = ctypes.create_string_buffer(self.key_size)

    def lookup(self, key: bytes) -> bytes | None:
        """Value of a key; None where there is none."""
        keys, value = ctypes.create_string_buffer(key, self.key_size), ctypes.create_string_buffer(self.value_size)
        try:
            call(_MAP_LOOKUP, struct.pack("<IxxxxQQQ", self.fd, _address(keys), _address(value), 0))
        except FileNotFoundError:
            return None
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> bool:
        """Set a value; False when NOEXIST or EXIST forbid it."""
        keys, values = (
            ctypes.create_string_buffer(key, self.key_size),
            ctypes.create_string_buffer(value, self.value_size),
        )
        try:
            call(_MAP_UPDATE, struct.pack("<IxxxxQQQ", self.fd, _address(keys), _address(values), flags))
        except (FileExistsError, FileNotFoundError):
            return False
        return True

    def delete(self, key: bytes) -> bool:
        """Remove a key; False where there is none."""
        keys = ctypes.create_string_buffer(key, self.key_size)
        try:
            call(_MAP_DELETE, struct.pack("<IxxxxQQQ", self.fd, _address(keys), 0, 0))
        except FileNotFoundError:
            return False
        return True

    def pop(self, key: bytes) -> bytes | None:
        """Remove a key in one step with reading it; None where there is none, or where hashes cannot do that (before 5.14)."""
        keys, value = ctypes.create_string_buffer(key, self.key_size), ctypes.create_string_buffer(self.value_size)
        try:
            call(_MAP_LOOKUP_AND_DELETE, struct.pack("<IxxxxQQQ", self.fd, _address(keys), _address(value), 0))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL, _ENOTSUPP):
                raise
            return None
        return value.raw

    def keys(self) -> list[bytes]:
        """All keys; one that comes or goes meanwhile may be in it or not. A hash starts anew when its cursor's key was
        deleted, so the list is bounded and without duplicates."""
        found: dict[bytes, None] = {}
        here, there = ctypes.create_string_buffer(self.key_size), ctypes.create_string_buffer(self.key_size)
        at = 0
        for _ in range(self.max_entries * 2):
            try:
                call(_MAP_NEXT_KEY, struct.pack("<IxxxxQQQ", self.fd, at, _address(there), 0))
            except FileNotFoundError:
                break
            found[there.raw] = None
            here, there = there, here
            at = _address(here)
        return list(found)

    def items(self) -> list[tuple[bytes, bytes]]:
        """All keys with their values; one that comes or goes meanwhile may be in it or not."""
        try:
            return self._batches()
        except OSError as error:
            if error.errno not in (errno.EINVAL, _ENOTSUPP):
                raise
        # before 5.6, and tries before 5.14
        return [(key, value) for key in self.keys() if (value := self.lookup(key)) is not None]

    def _batches(self) -> list[tuple[bytes, bytes]]:
        """Some thousands with each system call: one by one, a thousand entries take 20 ms."""
        most = min(self.max_entries, _BATCH)
        keys = ctypes.create_string_buffer(most * self.key_size)
        values = ctypes.create_string_buffer(most * self.value_size)
        cursor = ctypes.create_string_buffer(max(8, self.key_size))
        request = ctypes.create_string_buffer(128)
        found: list[tuple[bytes, bytes]] = []
        at = 0
        while True:
            addresses = (at, _address(cursor), _address(keys), _address(values))
            struct.pack_into("<QQQQIIQQ", request, 0, *addresses, most, self.fd, 0, 0)
            failed = _libc.syscall(_SYSCALL[_machine], _MAP_LOOKUP_BATCH, request, len(request)) < 0
            code = ctypes.get_errno() if failed else 0
            if code not in (0, errno.ENOENT):  # ENOENT: these are the last
                raise OSError(code, os.strerror(code))
            count = struct.unpack_from("<I", request, 32)[0]
            key, value = keys.raw, values.raw
            found += [
                (
                    key[i * self.key_size : (i + 1) * self.key_size],
                    value[i * self.value_size : (i + 1) * self.value_size],
                )
                for i in range(count)
            ]
            if code:
                return found
            at = _address(cursor)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class MapInfo:
    """struct bpf_map_info, its beginning."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """struct bpf_prog_info: the digest of its instructions, the maps that it uses, and how often it was not run because it was
    running already (recursion_misses, 5.12; 0 before)."""

    id: int
    tag: bytes
    maps: frozenset[int]
    missed: int


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """struct bpf_link_info; `cgroup` is 0 for a link that was detached, or whose cgroup is gone, or of another kind."""

    type: int
    id: int
    program: int
    cgroup: int

    @property
    def detached(self) -> bool:
        """A cgroup link that is attached no longer; links to tracepoints cannot be detached while somebody holds them."""
        return self.type == _LINK_TYPE_CGROUP and not self.cgroup


_LINK_TYPE_CGROUP, _PROGRAM_INFO = 3, 216


def _info(fd: int, size: int, filled: bytes = b"") -> bytes:
    buffer = ctypes.create_string_buffer(filled, size)
    call(_OBJ_INFO, struct.pack("<IIQ", fd, size, _address(buffer)))
    return buffer.raw


def map_info(fd: int) -> MapInfo:
    """What the kernel says of a map."""
    return MapInfo(*struct.unpack_from("<5I", _info(fd, 80)))


def program_info(fd: int) -> ProgramInfo:
    """What the kernel says of a program."""
    ids = (ctypes.c_uint32 * 64)()
    request = bytearray(_PROGRAM_INFO)
    struct.pack_into("<I", request, 52, len(ids))
    struct.pack_into("<Q", request, 56, ctypes.addressof(ids))
    raw = _info(fd, _PROGRAM_INFO, bytes(request))
    count = min(struct.unpack_from("<I", raw, 52)[0], len(ids))
    missed = struct.unpack_from("<Q", raw, 208)[0]
    return ProgramInfo(struct.unpack_from("<I", raw, 4)[0], raw[8:16], frozenset(ids[:count]), missed)


def link_info(fd: int) -> LinkInfo:
    """What the kernel says of a link."""
    raw = _info(fd, 64)
    kind, identity, program = struct.unpack_from("<III", raw)
    return LinkInfo(kind, identity, program, struct.unpack_from("<Q", raw, 16)[0] if kind == _LINK_TYPE_CGROUP else 0)


def program_by_id(identity: int) -> int:
    """A descriptor of a loaded program."""
    return call(13, struct.pack("<I", identity))[0]


def program_ids() -> list[int]:
    """Ids of all loaded programs, rising."""
    found: list[int] = []
    request = 0
    while True:
        try:
            request = struct.unpack_from("<II", call(_PROG_NEXT_ID, struct.pack("<II", request, 0))[1])[1]
        except FileNotFoundError:
            return found
        found.append(request)


def freeze(map_fd: int) -> None:
    """Have the kernel refuse every change of a map from user space from now on, for good and for everybody; programs still
    change it (BPF_MAP_FREEZE, 5.2). Nothing happens to one that is frozen.

    Raises:
        OSError: this map cannot be frozen: somebody has it mapped for writing, or its type.
    """
    try:
        call(_MAP_FREEZE, struct.pack("<I", map_fd))
    except OSError as error:
        if not _frozen(map_fd):
            raise error from None


def _frozen(map_fd: int) -> bool:
    with open(f"/proc/self/fdinfo/{map_fd}", encoding="ascii") as lines:
        return "frozen:\t1\n" in lines


def pin(fd: int, path: str) -> None:
    """Pin a link, map or program."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    call(_OBJ_PIN, struct.pack("<QI", _address(name), fd))


def pinned(path: str) -> int:
    """A descriptor of what is pinned at a path."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return call(_OBJ_GET, struct.pack("<QI", _address(name), 0))[0]


def link_create(program: int, target: int, attach_type: int, iterator: bytes = b"") -> int:
    """Attach a program; the descriptor of the link."""
    information = ctypes.create_string_buffer(iterator, len(iterator) or 1)
    tail = struct.pack("<QI", _address(information), len(iterator)) if iterator else b""
    return call(_LINK_CREATE, struct.pack("<IIII", program, target, attach_type, 0) + tail)[0]


def link_tracepoint(program: int, attach_type: int) -> int:
    """Attach a tp_btf program, which knows its own tracepoint.

    BPF_LINK_CREATE takes it since 5.18 (df86ca0d2f0f); before, BPF_RAW_TRACEPOINT_OPEN makes the same link.
    """
    try:
        return link_create(program, 0, attach_type)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return call(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", 0, program))[0]


def link_perf(program: int, attach_type: int, tracepoint: int) -> tuple[int, bool]:
    """Attach to a tracepoint by its id: (descriptor, whether it is a link that can be pinned: since 5.15)."""
    attributes = bytearray(128)
    struct.pack_into("<IIQQ", attributes, 0, _PERF_TYPE_TRACEPOINT, len(attributes), tracepoint, 1)
    buffer = ctypes.create_string_buffer(bytes(attributes), len(attributes))
    event = _libc.syscall(_PERF_EVENT_OPEN[_machine], buffer, -1, 0, -1, _PERF_FLAG_FD_CLOEXEC)
    if event < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"perf_event_open: {os.strerror(code)}")
    try:
        link = link_create(program, event, attach_type)
    except OSError:
        _ioctl(event, _PERF_SET_BPF, program)
        _ioctl(event, _PERF_ENABLE, 0)
        return event, False
    os.close(event)
    return link, True


def _ioctl(fd: int, request: int, argument: int) -> None:
    if _libc.ioctl(fd, ctypes.c_ulong(request), ctypes.c_ulong(argument)) < 0:
        code = ctypes.get_errno()
        os.close(fd)
        raise OSError(code, os.strerror(code))


def iterate(program: int, attach_type: int, task: int = 0) -> bytes:
    """Run an iterator to its end and return what it wrote; `task` limits it to one thread (6.1, else EINVAL or E2BIG)."""
    link = link_create(program, 0, attach_type, struct.pack("<II", task, 0) if task else b"")
    try:
        iterator = call(_ITER_CREATE, struct.pack("<II", link, 0))[0]
    finally:
        os.close(link)
    with open(iterator, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(65536), b""))


def run(program: int, *arguments: int) -> int:
    """Run a raw_tp program with arguments; what it returned."""
    context = ctypes.create_string_buffer(struct.pack("<12Q", *arguments, *([0] * (12 - len(arguments)))), 96)
    request = struct.pack("<IIIIQQIIIIQQII", program, 0, 0, 0, 0, 0, 0, 0, 96, 0, _address(context), 0, 0, 0)
    _, answer = call(_PROG_TEST_RUN, request)
    return int(struct.unpack_from("<I", answer, 4)[0])


def load_raw(program_type: int, instructions: bytes) -> int:
    """Load a few instructions: to ask what this kernel can."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    name = ctypes.create_string_buffer(b"GPL")
    request = struct.pack(
        "<IIQQIIQII", program_type, len(instructions) // 8, _address(code), _address(name), 0, 0, 0, 0, 0
    )
    return call(_PROG_LOAD, request)[0]
