"""What an SSH client's arguments ask for, in the spellings of OpenSSH, dropbear and PuTTY.

Sources: OpenSSH ssh.c (its getopt string, options again after the host, `--`) and readconf.c (parse_forward, keyword
and argument splitting); dropbear cli-runopts.c; PuTTY cmdline.c. The program's name is never looked at: whoever
speaks SSH is asked, by the banner it sends, which grammar its arguments are in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from controlplane.detectors._ssh.words import SOCKS, Forward, join_forward, parse_forward, split_option

OPENSSH_WITH_VALUE = frozenset("bceilmopBDEFIJLOPQRSwW")
OPENSSH_FLAGS = frozenset("1246afgknqstvxACGKMNTVXYy")
DROPBEAR_WITH_VALUE = frozenset("pilLRKIBJcmboW")
DROPBEAR_FLAGS = frozenset("tTNfyszgAaukvVhqG46")
PUTTY_WITH_VALUE = frozenset(
    [
        *("-load", "-l", "-m", "-P", "-D", "-L", "-R", "-nc", "-pw", "-pwfile", "-hostkey", "-sercfg", "-i", "-cert"),
        *("-logoverwrite", "-loghost", "-sshlog", "-sshrawlog", "-proxycmd"),
    ]
)


@dataclass(slots=True)
class Command:
    """What the arguments ask for. `written` has each remote forward as it was written, beside `forwards`."""

    forwards: list[Forward] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    host: str = ""
    user: str = ""
    control_command: str = ""
    control_path: str = ""
    master: bool = False
    stdio_forward: bool = False
    clears: bool | None = None
    """ClearAllForwardings as written; None when it is not."""
    mode_only: bool = False
    """-V, -G or -Q: prints something and connects nowhere."""
    terminated: bool = False
    """`--` was given."""

    def want(self, value: str, written: str) -> None:
        """Notes a remote forward if the value is one."""
        if (forward := parse_forward(value)) is not None:
            self.forwards.append(forward)
            self.written.append(written)


def openssh(argv: Sequence[str]) -> Command | None:
    """Reads arguments as OpenSSH does; None when OpenSSH would refuse them (an unknown option or a missing value)."""
    command = Command()
    rest = list(argv[1:])
    while True:
        stop = _getopt(rest, OPENSSH_WITH_VALUE, OPENSSH_FLAGS, command)
        if stop is None:
            return None
        if stop >= len(rest) or command.host:
            break
        command.user, command.host = _destination(rest[stop])
        if command.terminated:
            # what follows is the command
            break
        rest = rest[stop + 1 :]
    # ssh.c: -W implies ClearAllForwardings, unless that is set otherwise
    if command.clears or (command.clears is None and command.stdio_forward):
        command.forwards.clear()
        command.written.clear()
    return command


def dropbear(argv: Sequence[str]) -> Command | None:
    """Reads arguments as dropbear's dbclient does; None when it would refuse them."""
    command = Command()
    rest = list(argv[1:])
    stop = _getopt(rest, DROPBEAR_WITH_VALUE, DROPBEAR_FLAGS, command, options=False)
    if stop is None:
        return None
    if stop < len(rest):
        command.user, command.host = _destination(rest[stop])
        _getopt(rest[stop + 1 :], DROPBEAR_WITH_VALUE, DROPBEAR_FLAGS, command, options=False)
    return command


def putty(argv: Sequence[str]) -> Command:
    """Reads arguments as plink does: whole-word options, values in the next word, options also after the host."""
    command = Command()
    words = iter(argv[1:])
    for word in words:
        if word in PUTTY_WITH_VALUE:
            value = next(words, "")
            if word == "-R":
                command.want(value, f"-R {value}")
        elif word == "--":
            break
        elif not word.startswith("-"):
            if command.host:
                break
            command.user, command.host = _destination(word)
    return command


def anywhere(argv: Sequence[str]) -> Command:
    """Reads arguments of a program whose grammar is unknown: only `-R` (or RemoteForward) with a whole forward,
    port:host:port or longer."""
    command = Command()
    for word, following in zip(argv[1:], [*argv[2:], ""], strict=True):
        for value, written in _loose(word, following):
            forward = parse_forward(value)
            if forward is not None and forward.target != SOCKS and "${" not in value:
                command.want(value, written)
    return command


def _loose(word: str, following: str) -> Iterator[tuple[str, str]]:
    if word in ("-R", "--remote", "--remote-forward"):
        yield following, f"{word} {following}"
    elif word.startswith("-R"):
        yield word[2:], word
    elif word.startswith(("--remote=", "--remote-forward=")):
        yield word.partition("=")[2], word
    elif "remoteforward" in word.lower():
        keyword, arguments = split_option(word.removeprefix("-o"))
        if keyword == "remoteforward":
            yield join_forward(arguments), word


def read(argv: Sequence[str], banner: str) -> Command:
    """Reads arguments in the grammar that the client's SSH banner names.

    `banner` is the identification string ("SSH-2.0-OpenSSH_9.2p1"). Arguments of other implementations, and those
    that the named program would have refused, are read loosely.
    """
    found: Command | None = None
    if "dropbear" in banner:
        found = dropbear(argv)
    elif "PuTTY" in banner:
        found = putty(argv)
    elif "OpenSSH" in banner:
        found = openssh(argv)
    return anywhere(argv) if found is None else found


def program(argv: Sequence[str]) -> str:
    """The last part of argv[0]; a login shell's dash is dropped."""
    return PurePosixPath(argv[0]).name.lstrip("-") if argv else ""


def _getopt(
    rest: Sequence[str], with_value: frozenset[str], flags: frozenset[str], into: Command, *, options: bool = True
) -> int | None:
    """BSD getopt: returns the index of the first word that is no option, or None on an unknown option or a missing
    value."""
    index = 0
    while index < len(rest):
        word = rest[index]
        if word == "--":
            into.terminated = True
            return index + 1
        if not word.startswith("-") or word == "-":
            return index
        for at, letter in enumerate(word[1:], 1):
            if letter in with_value:
                value = word[at + 1 :]
                written = f"-{letter}{value}"
                if not value:
                    index += 1
                    if index >= len(rest):
                        return None
                    value = rest[index]
                    written = f"-{letter} {value}"
                _option(letter, value, written, into, options=options)
                break
            if letter not in flags:
                return None
            _flag(letter, into)
        index += 1
    return index


def _flag(letter: str, into: Command) -> None:
    if letter == "M":
        into.master = True
    elif letter in "VG":
        into.mode_only = True


def _option(letter: str, value: str, written: str, into: Command, *, options: bool) -> None:
    if letter == "R":
        into.want(value, written)
    elif not options:
        return
    elif letter == "o":
        _configure(value, written, into)
    elif letter == "O":
        into.control_command = value
    elif letter == "S":
        into.control_path = into.control_path or value
    elif letter == "W":
        into.stdio_forward = True
    elif letter == "l":
        into.user = into.user or value
    elif letter == "Q":
        into.mode_only = True


def _configure(value: str, written: str, into: Command) -> None:
    keyword, arguments = split_option(value)
    first = arguments[0] if arguments else ""
    if keyword == "remoteforward":
        into.want(join_forward(arguments), written)
    elif keyword == "clearallforwardings":
        # the first one counts
        into.clears = first.lower() in ("yes", "true") if into.clears is None else into.clears
    elif keyword == "controlpath":
        into.control_path = into.control_path or first
    elif keyword == "controlmaster":
        into.master = into.master or first.lower() not in ("no", "false")


def _destination(word: str) -> tuple[str, str]:
    """(user, host) of [user@]host or ssh://[user@]host[:port]."""
    if word.startswith("ssh://"):
        word = re.sub(r":\d+$", "", word[6:].split("/")[0])
    user, _, host = word.rpartition("@")
    return user, host
