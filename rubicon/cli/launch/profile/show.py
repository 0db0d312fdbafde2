"""`rubicon run --profile show`."""

from __future__ import annotations

import errno
from typing import Any

from rubicon.cli.launch.profile.landlock import available
from rubicon.cli.launch.profile.launch import Profile
from rubicon.cli.launch.profile.lists import DROPPED, FAMILIES, OTHER_FAMILIES, REFUSED
from rubicon.cli.render.output import Output

FOREIGN = "SIGSYS"
UNRESTRICTED = "--privileged: CMD keeps every right of the user it runs as"
SIGNALS_GO = "as the user may: this kernel has no Landlock with signal scopes (6.12)"
MAY_GAIN = "no: sudo and other setuid programs work, and gain everything but the capabilities above"
MAY_NOT_GAIN = "yes: sudo and other setuid programs gain nothing"


def told(profile: Profile) -> dict[str, Any]:
    """The names of `--profile show --json`."""
    restricted = profile.restricted
    return {
        "restricted": restricted,
        "capabilities_dropped": [each.name for each in DROPPED] if restricted else [],
        "calls_refused": {each.name: errno.errorcode[each.errno] for each in REFUSED} if restricted else {},
        "socket_families": [each.name for each in FAMILIES] if restricted else None,
        "other_families": errno.errorcode[OTHER_FAMILIES] if restricted else None,
        "foreign_abi": FOREIGN if restricted else None,
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
        [[(each.name, "bold"), (errno.errorcode[each.errno], ""), (each.why, "")] for each in REFUSED],
    )
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
