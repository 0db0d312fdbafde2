"""ssh_config(5) and a client's arguments: which remote forwards they ask for. Runs in the helper, as nobody.

Lines are read and taken apart here, so that Include stays inside the agent's root and no condition is ever executed;
Host and Match are evaluated by paramiko's SSHConfig. Source: OpenSSH readconf.c, ssh.c, misc.c.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import shlex
from typing import Any, NamedTuple

from sensor.collect.ssh_config_root import Root, Unreadable
from sensor.collect.ssh_config_words import arguments, expand_home, split_line

DEPTH = 16
"""READCONF_MAX_DEPTH"""
FORWARDS = 64
_WANTED = frozenset(("remoteforward", "controlpath", "hostname", "user", "port", "clearallforwardings"))
_DECIDED = frozenset(("host", "originalhost", "user", "localuser", "final"))


class Criterion(NamedTuple):
    """One condition of a Match (a Host is an originalhost)."""

    kind: str
    value: str
    negated: bool = False

    def text(self) -> str:
        """As paramiko reads it; `[` is no wildcard in ssh_config(5) and is one in fnmatch."""
        name = f"{'!' if self.negated else ''}{self.kind}"
        return name if self.kind == "final" else f"{name} {shlex.quote(self.value.replace('[', '[[]'))}"


class Line(NamedTuple):
    """One setting and the conditions under which it applies."""

    criteria: tuple[Criterion, ...]
    may: bool
    """Another condition was not evaluated."""
    keyword: str
    value: str


class Reader:
    """Takes configuration files apart into lines with their conditions."""

    def __init__(self, root: Root, home: str) -> None:
        self._root = root
        self._home = home
        self.lines: list[Line] = []
        self.problems: list[str] = []

    def file(self, path: str, *, users: bool, needed: bool = False) -> None:
        """Reads one file and what it includes; `users` says where a relative Include starts."""
        self._file(path, users, needed, 0, (), False)

    def option(self, text: str) -> None:
        """One -o, or what amounts to it."""
        keyword, words = split_line(text)
        if keyword in _WANTED and words:
            self.lines.append(Line((), False, keyword, " ".join(words[:2])))

    def _file(
        self, path: str, users: bool, needed: bool, depth: int, base: tuple[Criterion, ...], base_may: bool
    ) -> None:
        try:
            text = self._root.read(path)
        except OSError as error:
            if needed or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self.problems.append(f"{path}: {error.strerror}")
            return
        except Unreadable as error:
            self.problems.append(str(error))
            return
        criteria, may = base, base_may
        for raw in text.splitlines():
            keyword, words = split_line(raw)
            if keyword == "host":
                criteria, may = (*base, Criterion("originalhost", ",".join(words))), base_may
            elif keyword == "match":
                own, undecided = match_criteria(words)
                criteria, may = (*base, *own), base_may or undecided
            elif keyword == "include":
                self._include(words, users, depth, criteria, may)
            elif keyword in _WANTED and words:
                self.lines.append(Line(criteria, may, keyword, " ".join(words[:2])))

    def _include(self, words: list[str], users: bool, depth: int, criteria: tuple[Criterion, ...], may: bool) -> None:
        if depth >= DEPTH:
            self.problems.append(f"Include deeper than {DEPTH}")
            return
        for word in words:
            if "${" in word or "%" in word:
                self.problems.append(f"Include {word}: not expanded")
                continue
            path = expand_home(word, self._home)
            if not path.startswith("/"):
                path = posixpath.join(posixpath.join(self._home, ".ssh") if users else "/etc/ssh", path)
            for found in self._root.glob(path):
                self._file(found, users, False, depth + 1, criteria, may)


def match_criteria(words: list[str]) -> tuple[list[Criterion], bool]:
    """The conditions of a Match that can be decided here, and whether there are others (exec, localnetwork, tagged,
    …)."""
    criteria: list[Criterion] = []
    undecided = False
    rest = iter(words)
    for word in rest:
        name, separator, value = word.partition("=")
        negated, name = name.startswith("!"), name.lstrip("!").lower()
        if name == "all":
            continue
        if name == "canonical":
            # matches only in a second pass, which depends on names being looked up
            undecided = undecided or not negated
            continue
        if name != "final" and not separator:
            value = next(rest, "")
        if name in _DECIDED:
            criteria.append(Criterion(name, value, negated))
        else:
            undecided = True
    return criteria, undecided


def evaluate(lines: list[Line], host: str, config_class: Any) -> dict[str, tuple[str, bool]]:
    """The settings that apply to a host: name → (value, only may apply). Every RemoteForward has a name of its own,
    for all of them count (readconf.c add_remote_forward) where paramiko keeps only the first block's."""
    text: list[str] = []
    names: dict[str, bool] = {}
    for at, line in enumerate(lines):
        name = f"remoteforward{at}" if line.keyword == "remoteforward" else line.keyword
        # kept apart from paramiko's own names, whose values it would expand with this process's user and host
        name = f"rubicon{name}" if line.keyword in ("remoteforward", "controlpath") else name
        if line.may and line.keyword != "remoteforward":
            continue
        names[name] = line.may
        text.append("Match " + (" ".join(criterion.text() for criterion in line.criteria) or "all"))
        text.append(f"{name} {line.value}")
    config = config_class()
    config.parse(io.StringIO("\n".join(text) + "\n"))
    return {key: (str(value), names.get(key, False)) for key, value in config.lookup(host).items()}


def control_path(settings: dict[str, tuple[str, bool]], host: str, user: str, uid: int, home: str) -> str:
    """ControlPath with what is known put in; other tokens (%C, %l, …) stay."""
    path = settings.get("rubiconcontrolpath", ("", False))[0]
    if not path or path.lower() == "none":
        return ""
    name = settings.get("hostname", (host, False))[0]
    known = {
        "%h": name,
        "%n": host,
        "%p": settings.get("port", ("22", False))[0],
        "%r": settings.get("user", (user, False))[0],
        "%u": user,
        "%i": str(uid),
        "%d": home,
    }
    out, at = "", 0
    while at < len(path):
        token = path[at : at + 2]
        out += known.get(token, token if token[0] == "%" else token[0])
        at += 2 if token[0] == "%" else 1
    return expand_home(out, home)


def account(root: Root, uid: int) -> tuple[str, str]:
    """(name, home) of a uid in the agent's /etc/passwd; ssh(1) takes both from there and not from the environment.

    Raises:
        Unreadable: it has no entry; ssh refuses to run then.
    """
    try:
        text = root.read("/etc/passwd")
    except OSError as error:
        raise Unreadable(f"/etc/passwd: {error.strerror}") from None
    root.files.clear()
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid):
            return fields[0], fields[5] or "/"
    raise Unreadable(f"uid {uid} has no entry in the agent's /etc/passwd")


def answer(request: dict[str, Any], config_class: Any) -> dict[str, Any]:
    """What the configuration asks for; `request` as `sensor.collect.ssh_config` sends it."""
    given = arguments(request["argv"])
    root = Root(request["root"])
    reply: dict[str, Any] = {"host": given.host, "remote_forwards": [], "files": root.files, "may_match": False}
    reply |= {"control_path": "", "error": ""}
    try:
        user, home = account(root, request["uid"])
        os.environ["LOGNAME"] = user
        reader = Reader(root, home)
        for line in given.lines:
            reader.option(line)
        if given.file:
            if given.file.lower() != "none":
                path = posixpath.join(request["cwd"] or "/", expand_home(given.file, home))
                reader.file(path, users=True, needed=True)
        else:
            reader.file(posixpath.join(home, ".ssh/config"), users=True)
            reader.file("/etc/ssh/ssh_config", users=False)
        reply["error"] = "; ".join(reader.problems[:4])
        settings = evaluate(reader.lines, given.host, config_class)
    except Unreadable as error:
        reply["error"] = str(error)
        return reply
    reply["control_path"] = control_path(settings, given.host, user, request["uid"], home)
    clear = settings.get("clearallforwardings", ("", False))[0].lower()
    if clear in ("yes", "true") or (given.stdio_forward and clear not in ("no", "false")):
        return reply
    order = sorted(
        (key for key in settings if key.startswith("rubiconremoteforward")),
        key=lambda key: int(key.removeprefix("rubiconremoteforward")),
    )
    for may in (False, True):
        values = [settings[key][0] for key in order if settings[key][1] is may]
        if values:
            reply |= {"remote_forwards": values[:FORWARDS], "may_match": may}
            break
    return reply
