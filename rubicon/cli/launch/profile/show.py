"""`rubicon run --profile show`."""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

from rubicon.cli.launch.profile.landlock import available
from rubicon.cli.launch.profile.launch import Profile
from rubicon.cli.launch.profile.lists import DRIVERS, DROPPED, FAMILIES, KERNEL_FILES, OTHER_FAMILIES, PROC, REFUSED
from rubicon.cli.render.output import Output
from rubicon.v1.instance import Instance

FOREIGN = "SIGSYS"
UNRESTRICTED = "--privileged: CMD keeps every right of the user it runs as"
SIGNALS_GO = "as the user may: this kernel has no Landlock with signal scopes (6.12)"
UNWALLED = "no walls: who launches CMD may not mount (CAP_SYS_ADMIN), so file permissions alone are in its way"
MAY_GAIN = "no: sudo and other setuid programs work, and gain everything but the capabilities above"
MAY_NOT_GAIN = "yes: sudo and other setuid programs gain nothing"


class Wall(NamedTuple):
    """What lies behind it, what is answered, and what it would be good for."""

    what: str
    answer: str
    why: str


def walls() -> list[Wall]:
    """In the order in which they are built."""
    instance = Instance.current()
    reasons: dict[str, list[str]] = {}
    for driver, why in DRIVERS.items():
        reasons.setdefault(why, []).append(driver)
    kinds: dict[str, list[str]] = {}
    for kind, why in KERNEL_FILES.items():
        kinds.setdefault(why, []).append(kind)
    return [
        Wall("as root: processes of others in /proc", "ENOENT", "the sensor first in line when memory runs out"),
        Wall(f"as root: /proc/{{{','.join(PROC)}}}", "EROFS", "programs that the kernel runs, and its switches"),
        Wall(str(instance.state_dir), "an empty folder", "the key that tokens are signed with, database, spool, audit"),
        Wall(str(instance.run_dir), "EROFS", "a socket in the place of the daemons' own"),
        Wall(f"{instance.settings_file.parent}, where it exists", "EROFS", "other rules"),
        Wall("swap files", "EACCES", "what the daemons had in memory"),
        Wall("bpf file systems", "an empty folder", "pins: who removes one detaches a hook"),
        *(Wall(", ".join(names), "EROFS", why) for why, names in kinds.items()),
        Wall("block devices, mem, kmem, port", "EACCES", "key and database, from the disk or from memory"),
        *(Wall(f"devices of {', '.join(names)}", "EACCES", why) for why, names in reasons.items()),
        Wall("device nodes outside /dev", "EACCES", "the same by another name"),
    ]


def told(profile: Profile) -> dict[str, Any]:
    """The names of `--profile show --json`."""
    restricted = profile.restricted
    return {
        "restricted": restricted,
        "capabilities_dropped": [each.name for each in DROPPED] if restricted else [],
        "calls_refused": {each.title: errno.errorcode[each.errno] for each in REFUSED} if restricted else {},
        "socket_families": [each.name for each in FAMILIES] if restricted else None,
        "other_families": errno.errorcode[OTHER_FAMILIES] if restricted else None,
        "foreign_abi": FOREIGN if restricted else None,
        "walls": {each.what: each.answer for each in walls()} if profile.walled else {},
        "signals_outside": errno.errorcode[errno.EPERM] if restricted and available() else None,
        "no_new_privs": profile.no_new_privs,
        "no_new_privs_forced": profile.forced,
    }


def show(profile: Profile, as_json: bool) -> None:
    """Print it."""
    output = Output()
    if as_json:
        output.json(told(profile))
        return
    if not profile.restricted:
        output.wrapped([(UNRESTRICTED, "yellow")])
        return
    output.table(
        ("CAPABILITY DROPPED", "WHAT IT WOULD ALLOW"), [[(each.name, "bold"), (each.why, "")] for each in DROPPED]
    )
    output.text("")
    output.table(
        ("CALL REFUSED", "WITH", "WHY"),
        [[(each.title, "bold"), (errno.errorcode[each.errno], ""), (each.why, "")] for each in REFUSED],
    )
    output.text("")
    if profile.walled:
        output.table(
            ("WALL BEFORE", "ANSWER", "WHAT IT WOULD ALLOW"),
            [[(each.what, "bold"), (each.answer, ""), (each.why, "")] for each in walls()],
        )
    else:
        output.wrapped([(UNWALLED, "yellow")])
    output.text("")
    kept = ", ".join(each.name for each in FAMILIES)
    forced = " (you lack the rights for a filter without it)" if profile.forced else ""
    output.table(
        ("OTHER", ""),
        [
            [("socket families", "bold"), (f"{kept}; others: {errno.errorcode[OTHER_FAMILIES]}", "")],
            [("32-bit and x32 calls", "bold"), (f"the process is killed, {FOREIGN}", "")],
            [("signals to outside", "bold"), ("EPERM" if available() else SIGNALS_GO, "")],
            [("no_new_privs", "bold"), ((MAY_NOT_GAIN + forced) if profile.no_new_privs else MAY_GAIN, "")],
        ],
    )
