"""As whom CMD runs: the one who typed sudo, unless told otherwise."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from rubicon.client.errors import InvalidArgument, PermissionDenied


@dataclass(frozen=True, slots=True)
class Identity:
    """A user to become; `change` is False where nothing has to be done."""

    uid: int
    gid: int
    name: str
    home: str
    shell: str
    change: bool

    def environment(self, current: Mapping[str, str]) -> dict[str, str]:
        """The current one, with what names the user set right and sudo's own variables gone."""
        result = {key: value for key, value in current.items() if not self.change or not key.startswith("SUDO_")}
        if self.change:
            result |= {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}
        return result

    def become(self) -> None:
        """Drop to it, groups first; there is no way back.

        Raises:
            PermissionError: not root.
        """
        if self.change:
            os.initgroups(self.name, self.gid)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)


def chosen(wanted: str | None, environment: Mapping[str, str]) -> Identity:
    """The user that `--user` names, else SUDO_USER's uid, else the caller.

    Raises:
        InvalidArgument: there is no such user.
        PermissionDenied: only root may become somebody else.
    """
    own = os.geteuid()
    if wanted is None and own == 0 and environment.get("SUDO_UID", "").isdecimal():
        wanted = environment["SUDO_UID"]
    try:
        if wanted is None:
            entry = pwd.getpwuid(own)
        else:
            entry = pwd.getpwuid(int(wanted)) if wanted.isdecimal() else pwd.getpwnam(wanted)
    except KeyError:
        if wanted is None:  # a uid without a name: a container's
            return Identity(own, os.getegid(), str(own), "/", "/bin/sh", False)
        raise InvalidArgument(f"no user {wanted!r} on this host") from None
    if own and entry.pw_uid != own:
        raise PermissionDenied(f"only root may run CMD as {entry.pw_name}", "use sudo")
    return Identity(
        entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh", entry.pw_uid != own
    )
