"""What an agent tries. Each argument is an attack, NAME or NAME:ARGUMENT,…; each prints a line: "ok" or errno's name.

Only the standard library, for it runs in containers as well; system calls that Python does not have go through ctypes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
SYSCALL = LIBC.syscall
SYSCALL.restype = ctypes.c_long
BPF, CLONE3, PIDFD_OPEN, PIDFD_GETFD, OPEN_BY_HANDLE, PROCESS_VM_READV, SETNS = 321, 435, 434, 438, 304, 310, 308
MAP_NEXT_ID, PROG_NEXT_ID, LINK_NEXT_ID, OBJ_GET, MAP_FD_BY_ID, LINK_FD_BY_ID = 12, 11, 31, 7, 14, 30
MAP_DELETE, LINK_DETACH = 3, 34
PTRACE_SEIZE, CLONE_INTO_CGROUP, NEWUSER, NEWNS, NEWNET, NEWCGROUP = 0x4206, 1 << 33, 1 << 28, 1 << 17, 1 << 30, 1 << 25
CLONE, NEWPID, BIND, REC, REQUEST_KEY, PIVOT_ROOT, TIOCSTI, TIOCLINUX = (
    56,
    1 << 29,
    4096,
    16384,
    249,
    155,
    0x5412,
    0x541C,
)


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def call(number: int, *arguments: object) -> int:
    return checked(SYSCALL(number, *arguments))


def bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(64, b"\0"), 64)
    return call(BPF, command, buffer, 64)


def signal(pid: str, number: str) -> None:
    os.kill(int(pid), int(number))


def pidfd_signal(pid: str, number: str) -> None:
    call(424, call(PIDFD_OPEN, int(pid), 0), int(number), None, 0)


def ptrace(pid: str) -> None:
    checked(LIBC.ptrace(PTRACE_SEIZE, int(pid), None, None))


def read_memory(pid: str) -> None:
    word = (ctypes.c_uint64 * 2)()
    call(PROCESS_VM_READV, int(pid), word, ctypes.c_ulong(1), word, ctypes.c_ulong(1), ctypes.c_ulong(0))


def take_descriptor(pid: str) -> None:
    call(PIDFD_GETFD, call(PIDFD_OPEN, int(pid), 0), 3, 0)


def prlimit(pid: str) -> None:
    resource.prlimit(int(pid), resource.RLIMIT_CORE, (0, 0))


def open_file(path: str, how: str = "r") -> None:
    flags = {"r": os.O_RDONLY, "w": os.O_WRONLY, "d": os.O_RDONLY | os.O_DIRECTORY}[how]
    os.close(os.open(path, flags | os.O_NONBLOCK))


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def remove(path: str) -> None:
    os.unlink(path)


def lock_all(folder: str) -> None:
    """Hold a lock on whatever can be opened there, and on the folder, and say so; until stdin ends."""
    held = [
        os.open(path, os.O_RDONLY)
        for path in (folder, *(entry.path for entry in os.scandir(folder) if entry.is_file()))
    ]
    for each in held:
        fcntl.flock(each, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("held", flush=True)
    sys.stdin.read()


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def map_ids() -> None:
    bpf(MAP_NEXT_ID, struct.pack("<I", 0))


def map_by_id(number: str) -> None:
    bpf(MAP_FD_BY_ID, struct.pack("<I", int(number)))


def link_by_id(number: str) -> None:
    bpf(LINK_FD_BY_ID, struct.pack("<I", int(number)))


def pinned(path: str) -> int:
    text = ctypes.create_string_buffer(path.encode())
    return bpf(OBJ_GET, struct.pack("<Q", ctypes.addressof(text)))


def delete_tag(path: str) -> None:
    key = ctypes.c_uint32(os.getpid())
    bpf(MAP_DELETE, struct.pack("<IxxxxQ", pinned(path), ctypes.addressof(key)))


def detach(path: str) -> None:
    bpf(LINK_DETACH, struct.pack("<I", pinned(path)))


def mount(kind: str) -> None:
    target = f"/tmp/attack-{os.getpid()}"
    os.mkdir(target)
    try:
        checked(LIBC.mount(kind.encode(), target.encode(), kind.encode(), 0, None))
        checked(LIBC.umount2(target.encode(), 2))
    finally:
        os.rmdir(target)


def unmount(path: str) -> None:
    checked(LIBC.umount2(path.encode(), 2))


def unshare(flags: int) -> None:
    checked(LIBC.unshare(flags))


def become_root_inside(flags: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    unshare(NEWUSER | NEWNS | flags)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {uid} 1")
    write("/proc/self/gid_map", f"0 {gid} 1")


def in_user_namespace(attack: str, *arguments: str) -> None:
    """The same with all capabilities in a new user and mount namespace, where they count for nothing outside."""
    become_root_inside(0)
    ATTACKS[attack](*arguments)


def in_cgroup_namespace(attack: str, *arguments: str) -> None:
    """The same where a hierarchy of cgroups may be mounted."""
    become_root_inside(NEWCGROUP)
    ATTACKS[attack](*arguments)


def born_in_cgroup_namespace() -> None:
    """By clone, not by unshare."""
    child = call(CLONE, NEWUSER | NEWCGROUP | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def on_new_proc(attack: str, path: str, *arguments: str) -> None:
    """The same on a /proc mounted anew, in a user and pid namespace, where nothing lies over it."""
    become_root_inside(NEWPID)
    child = os.fork()
    if child == 0:
        number = 0
        try:
            checked(LIBC.mount(b"proc", b"/tmp", b"proc", 0, None))
            ATTACKS[attack](f"/tmp/{path}", *arguments)
        except OSError as error:
            number = error.errno or errno.EIO
        os._exit(number)
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(status, "")


def look_under(path: str, how: str) -> None:
    """A file below what was mounted over it: by the file system's root elsewhere, alone or as a layer, by unmounting, and by a
    descriptor of the folder above, where nothing is mounted any more."""
    above = os.open(os.path.dirname(os.path.dirname(path)), os.O_RDONLY)
    become_root_inside(0)
    checked(LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None))
    for name in ("here", "upper", "work"):
        os.mkdir(f"/tmp/{name}")
    if how == "held":
        os.chdir("/tmp")
        call(PIVOT_ROOT, b".", b"here")
        checked(LIBC.umount2(b"/here", 2))
        os.close(os.open(os.path.join(*path.split("/")[-2:]), os.O_RDONLY, dir_fd=above))
        return
    if how == "bind":
        checked(LIBC.mount(b"/", b"/tmp/here", None, BIND, None))
    elif how == "tree":
        checked(LIBC.mount(b"/", b"/tmp/here", None, BIND | REC, None))
        checked(LIBC.umount2(f"/tmp/here{os.path.dirname(path)}".encode(), 2))
    else:
        options = b"lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work"
        checked(LIBC.mount(b"none", b"/tmp/here", b"overlay", 0, options))
    open_file(f"/tmp/here{path}")


def writable_again(path: str) -> None:
    """Take the read-only flag off a mount."""
    become_root_inside(0)
    checked(LIBC.mount(None, path.encode(), None, 32 | BIND, None))


def move_away(path: str) -> None:
    """A folder out of its place, to put another there; and back."""
    os.rename(path, f"{path}-away")
    os.rename(f"{path}-away", path)


def ask_for_a_key() -> None:
    """The kernel runs /sbin/request-key for it, as root; ENOKEY where there is none."""
    call(REQUEST_KEY, b"user", b"rubicon-attack", b"told", 0)


def type_in(number: str = "") -> None:
    """A character into the input of a terminal, by the number cut to 32 bits as well."""
    ours = os.openpty()[1]
    call(16, ours, ctypes.c_uint64(int(number or TIOCSTI)), b"x")


def paste() -> None:
    """The same by the console's own clipboard; ENOTTY on another terminal."""
    call(16, os.openpty()[1], TIOCLINUX, b"\3")


def snapshot(number: str) -> None:
    """Of a btrfs subvolume; another file system answers ENOTTY."""
    call(16, os.open("/", os.O_RDONLY), ctypes.c_uint64(int(number, 16)), ctypes.create_string_buffer(4096))


def enter(pid: str, kind: str) -> None:
    descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
    call(SETNS, descriptor, 0)


def enter_by_pidfd(pid: str) -> None:
    call(SETNS, call(PIDFD_OPEN, int(pid), 0), NEWNS | NEWNET)


def root_of(pid: str) -> None:
    os.listdir(f"/proc/{pid}/root/")


def clone_into(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    arguments = struct.pack("<11Q", CLONE_INTO_CGROUP, 0, 0, 0, 17, 0, 0, 0, 0, 0, descriptor)
    child = call(CLONE3, ctypes.create_string_buffer(arguments, len(arguments)), len(arguments))
    if child == 0:
        os.execv("/bin/sleep", ["sleep", "0.05"])
    os.waitpid(child, 0)


def own_cgroup() -> str:
    root = next((line.split()[4] for line in open("/proc/self/mountinfo") if " - cgroup2 " in line), "/nowhere")  # noqa: SIM115
    path = next(line.strip()[3:] for line in open("/proc/self/cgroup") if line.startswith("0::"))  # noqa: SIM115
    return root + path


def leave(folder: str) -> None:
    """Go to another cgroup, and on with something there."""
    write(f"{folder}/cgroup.procs", str(os.getpid()))
    os.spawnv(os.P_WAIT, "/bin/true", ["true"])


def drag(pid: str) -> None:
    """Move somebody into the own cgroup."""
    write(f"{own_cgroup()}/cgroup.procs", pid)


def thaw_itself() -> None:
    """From a cgroup below the own one, that may be frozen: write to the own switches."""
    write(f"{own_cgroup()}/cgroup.freeze", "0")


def by_handle(path: str) -> None:
    """Open any inode of a file system by its number (what "shocker" did)."""
    handle = ctypes.create_string_buffer(struct.pack("<IiI", 8, 1, 2) + bytes(4) + bytes(128))
    call(OPEN_BY_HANDLE, os.open(path, os.O_RDONLY), handle, os.O_RDONLY)


def device(major: str, minor: str) -> None:
    path = f"/tmp/attack-device-{os.getpid()}"
    os.mknod(path, 0o600 | 0o060000, os.makedev(int(major), int(minor)))
    try:
        os.close(os.open(path, os.O_RDONLY))
    finally:
        os.unlink(path)


def raise_limit(name: str) -> None:
    number = getattr(resource, name)
    hard = resource.getrlimit(number)[1]
    resource.setrlimit(number, (hard, hard + 1 if hard != resource.RLIM_INFINITY else hard))


def set_clock() -> None:
    """To what it is, so that it harms nobody where it works."""
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))


def tun() -> None:
    with open("/dev/net/tun", "r+b", buffering=0) as device:
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"attack%d", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI


def make_link() -> None:
    """Ask netlink for a bridge, and take it away again."""
    name = b"attack\0\0"
    kind = struct.pack("<HH", 10, 1) + b"bridge\0\0"
    info = struct.pack("<HH", 4 + len(kind) + 0, 18) + kind
    body = struct.pack("<BxHiII", 0, 0, 0, 0, 0) + struct.pack("<HH", 11, 3) + name + info
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        for number, flags in ((16, 0x605), (17, 0x5)):
            netlink.send(struct.pack("<IHHII", 16 + len(body), number, flags, 1, 0) + body)
            code = -struct.unpack_from("<i", netlink.recv(4096), 16)[0]
            if code:
                raise OSError(code, "")


def raw(family: str, protocol: str = "1") -> None:
    socket.socket(int(family), socket.SOCK_RAW, int(protocol)).close()


def kinds(family: str) -> None:
    socket.socket(int(family), socket.SOCK_DGRAM).close()


HELPERS = ("checked", "call", "bpf", "own_cgroup", "become_root_inside", "main")
ATTACKS: dict[str, Callable[..., object]] = {
    name.replace("_", "-"): value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == "__main__" and name not in HELPERS
}


def main() -> None:
    for word in sys.argv[1:]:
        name, _, rest = word.partition(":")
        child = os.fork()  # what one attack changes is not there for the next
        if child == 0:
            try:
                ATTACKS[name](*(rest.split(",") if rest else ()))
                told = "ok"
            except OSError as error:
                told = errno.errorcode.get(error.errno or 0, str(error))
            except ValueError:
                told = "EPERM"  # as the module resource says it
            os.write(1, f"{told}\n".encode())
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            print(f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status >> 8}", flush=True)


main()
