"""An agent's process does one thing to the sensor, then holds on until a line comes: tamper.py WHAT ARGUMENT…

Only the standard library. System calls that Python does not have go through ctypes. Each prints "ok" or errno's name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
BPF, NAME_TO_HANDLE, OPEN_BY_HANDLE = 321, 303, 304
MAP_DELETE, PROG_LOAD, OBJ_GET, TEST_RUN, MAP_CREATE, LINK_DETACH = 3, 5, 7, 10, 0, 34
SEIZE, BIND, AT_FDCWD, NEWNS, PRIVATE = 0x4206, 4096, -100, 1 << 17, 1 << 18 | 1 << 14


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    return checked(LIBC.syscall(BPF, command, buffer, 128))


def pinned(path: str) -> int:
    text = ctypes.create_string_buffer(path.encode())
    return bpf(OBJ_GET, struct.pack("<Q", ctypes.addressof(text)))


def read(*paths: str) -> None:
    """Any of them: why not the last, when all are refused."""
    refused = OSError()
    for path in paths:
        try:
            os.close(os.open(path, os.O_RDONLY))
        except FileNotFoundError:
            continue  # a draft that is gone
        except OSError as error:
            refused = error
        else:
            return
    raise refused


def by_link(path: str, link: str) -> None:
    os.link(path, link)
    try:
        read(link)
    finally:
        os.unlink(link)


def by_mount(folder: str, name: str, place: str) -> None:
    """Through a bind mount in a mount namespace of one's own."""
    checked(LIBC.unshare(NEWNS))
    checked(LIBC.mount(b"none", b"/", None, PRIVATE, None))
    checked(LIBC.mount(folder.encode(), place.encode(), None, BIND, None))
    read(f"{place}/{name}")


def by_handle(path: str) -> None:
    """By the inode's handle, without a name."""
    handle = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0), 136)
    mount = ctypes.c_int()
    checked(LIBC.syscall(NAME_TO_HANDLE, AT_FDCWD, path.encode(), handle, ctypes.byref(mount), 0))
    os.close(checked(LIBC.syscall(OPEN_BY_HANDLE, os.open("/var/lib", os.O_RDONLY), handle, os.O_RDONLY)))


def truncate(path: str) -> None:
    os.truncate(path, 0)


def replace(source: str, path: str) -> None:
    """Put something of one's own in a file's place."""
    os.replace(source, path)


def kill(pid: str, number: str) -> None:
    os.kill(int(pid), int(number))


def trace(pid: str) -> None:
    checked(LIBC.ptrace(SEIZE, int(pid), None, None))


def hold(path: str) -> None:
    """Have a map, program or link open."""
    pinned(path)


def own_map() -> None:
    bpf(MAP_CREATE, struct.pack("<5I", 2, 4, 8, 1, 0))


def detach(path: str) -> None:
    descriptor = pinned(path)
    try:
        bpf(LINK_DETACH, struct.pack("<I", descriptor))
    finally:
        os.close(descriptor)


def unpin(path: str) -> None:
    os.unlink(path)


def delete(path: str, key: str) -> None:
    """One entry of a map whose keys have four bytes."""
    descriptor = pinned(path)
    try:
        number = ctypes.c_uint32(int(key) or os.getpid())
        bpf(MAP_DELETE, struct.pack("<IxxxxQ", descriptor, ctypes.addressof(number)))
    finally:
        os.close(descriptor)


def delete_by_program(path: str) -> None:
    """One's own tag, by a program of one's own, which the kernel lets change what is frozen: helper 3 is map_delete_elem."""
    descriptor = pinned(path)
    steps = [
        (0x62, 10, 0, -4, os.getpid()),  # *(u32 *)(r10 - 4) = pid
        (0xBF, 2, 10, 0, 0),  # r2 = r10
        (0x07, 2, 0, 0, -4),  # r2 += -4
        (0x18, 1, 1, 0, descriptor),  # r1 = the map
        (0x00, 0, 0, 0, 0),
        (0x85, 0, 0, 0, 3),  # call
        (0xB7, 0, 0, 0, 0),  # r0 = 0
        (0x95, 0, 0, 0, 0),  # exit
    ]
    code = b"".join(
        struct.pack("<BBhi", op, to | source << 4, offset, value) for op, to, source, offset, value in steps
    )
    text, name = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    program = bpf(
        PROG_LOAD,
        struct.pack("<IIQQIIQII", 17, len(steps), ctypes.addressof(text), ctypes.addressof(name), 0, 0, 0, 0, 0),
    )
    os.close(descriptor)
    bpf(TEST_RUN, struct.pack("<I", program))


WHAT = {
    name.replace("_", "-"): globals()[name]
    for name in (
        "read", "by_link", "by_mount", "by_handle", "kill", "trace", "hold", "own_map", "detach", "unpin", "delete",
        "delete_by_program", "truncate", "replace",
    )
}  # fmt: skip

try:
    WHAT[sys.argv[1]](*sys.argv[2:])
    told = "ok"
except OSError as error:
    told = errno.errorcode.get(error.errno or 0, str(error))
print(told, flush=True)
sys.stdin.readline()
