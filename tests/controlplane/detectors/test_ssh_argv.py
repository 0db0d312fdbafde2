"""Arguments, in every spelling that the clients take."""

from __future__ import annotations

import shlex

import pytest

from controlplane.detectors._ssh import argv as argv
from controlplane.detectors._ssh import words as words

FORWARD = ("9000", "h:80")


def found(command: argv.Command | None) -> list[tuple[str, str]]:
    assert command is not None
    return [(forward.listen, forward.target) for forward in command.forwards]


@pytest.mark.parametrize(
    "line",
    [
        "ssh -R 9000:h:80 x",
        "ssh -R9000:h:80 x",
        "ssh -fNR 9000:h:80 x",
        "ssh -fNR9000:h:80 x",
        "ssh -NTfvvvR 9000:h:80 u@x",
        "ssh x -R 9000:h:80",
        "ssh -p 443 x -N -R 9000:h:80",
        "ssh -N -R 9000:h:80 -- x",
        "ssh -l -- x -R 9000:h:80",
        "ssh -R 9000:h:80 x command -R 1:b:2",
        "ssh -o RemoteForward=9000:h:80 x",
        "ssh -oRemoteForward=9000:h:80 x",
        "ssh -o 'RemoteForward 9000 h:80' x",
        "ssh -o'remoteforward  9000  h:80' x",
        "ssh -o 'REMOTEFORWARD = 9000 h:80' x",
        'ssh -o \'"RemoteForward" 9000 "h:80"\' x',
        "ssh -S /tmp/s -O forward -R 9000:h:80 x",
        "ssh -Oforward -S/tmp/s -R9000:h:80 x",
        "ssh -W a:1 -o ClearAllForwardings=no -R 9000:h:80 x",
        "ssh -oClearAllForwardings=no -oClearAllForwardings=yes -R 9000:h:80 x",
        "anything-at-all -4R 9000:h:80 ssh://u@x:443",
    ],
)
def test_openssh_spellings(line: str) -> None:
    assert found(argv.openssh(shlex.split(line))) == [FORWARD]


@pytest.mark.parametrize(
    "line",
    [
        "ssh x command -R 9000:h:80",
        "ssh x -- -R 9000:h:80",
        "ssh -- x -R 9000:h:80",
        "ssh -L 9000:h:80 x",
        "ssh -D 1080 x",
        "ssh -W a:1 -R 9000:h:80 x",
        "ssh -oClearAllForwardings=yes -R 9000:h:80 x",
        "ssh -i -R x",
        "ssh -R nonsense x",
        "ssh -J a,b x",
        "grep -R pattern .",
    ],
)
def test_openssh_that_asks_for_none(line: str) -> None:
    assert found(argv.openssh(shlex.split(line))) == []


@pytest.mark.parametrize("line", ["ssh --remote 9000:h:80 x", "ls -R9 --color -z", "ssh x -R", "chown -Rh a b"])
def test_openssh_refuses(line: str) -> None:
    command = argv.openssh(shlex.split(line))
    assert command is None or not command.forwards


@pytest.mark.parametrize(
    ("spec", "listen", "target"),
    [
        ("9000:h:80", "9000", "h:80"),
        ("0:h:80", "0", "h:80"),
        ("9000:h:http", "9000", "h:http"),
        ("1080", "1080", "socks"),
        ("127.0.0.1:1080", "127.0.0.1:1080", "socks"),
        ("*:9000:h:80", "*:9000", "h:80"),
        (":9000:h:80", ":9000", "h:80"),
        ("[::1]:9000:[fe80::1]:80", "[::1]:9000", "[fe80::1]:80"),
        ("/run/far.sock:/run/near.sock", "/run/far.sock", "/run/near.sock"),
        ("/run/far.sock:h:80", "/run/far.sock", "h:80"),
        ("9000:/run/near.sock", "9000", "/run/near.sock"),
        ("localhost:9000:/run/near.sock", "localhost:9000", "/run/near.sock"),
        ("/run/far.sock", "/run/far.sock", "socks"),
        ("run/far:near/sock", "run/far", "near/sock"),
        ("9000/h/80", "9000/h/80", "socks"),
        (r"/run/a\:b:h:80", "/run/a:b", "h:80"),
        ("[/run/a:b]:h:80", "/run/a:b", "h:80"),
        ("socks", "socks", "socks"),
        ("${WHAT}", "${WHAT}", "as the environment says"),
        ("9000:${WHERE}", "9000:${WHERE}", "as the environment says"),
    ],
)
def test_forwards(spec: str, listen: str, target: str) -> None:
    assert words.parse_forward(spec) == words.Forward(listen, target)


@pytest.mark.parametrize(
    "spec", ["", ":", "pattern", "host:dir", "70000", "a:b:c:d:e", "9000::80", ".", "1:2:3:x:y:z", "[::1:9000"]
)
def test_no_forwards(spec: str) -> None:
    assert words.parse_forward(spec) is None


@pytest.mark.parametrize(
    ("banner", "line"),
    [
        ("SSH-2.0-dropbear_2022.83", "dbclient -y -N -i key -p 443 -R 9000:h:80 x"),
        ("SSH-2.0-dropbear_2022.83", "worker -NfR9000:h:80 x"),
        ("SSH-2.0-PuTTY_Release_0.78", "plink -batch -hostkey SHA256:a -N -P 443 -i k.ppk -R 9000:h:80 x"),
        ("SSH-2.0-PuTTY_Release_0.78", "plink -ssh x -R 9000:h:80"),
        ("SSH-2.0-paramiko_3.4", "python3 tunnel.py x -R 9000:h:80"),
        ("SSH-2.0-Go", "worker --remote=9000:h:80 x"),
        ("SSH-2.0-OpenSSH_9.2p1", "ssh -R 9000:h:80 x"),
        ("SSH-2.0-OpenSSH_9.2p1", "other --remote 9000:h:80 x"),
    ],
)
def test_grammar_follows_the_banner(banner: str, line: str) -> None:
    assert found(argv.read(shlex.split(line), banner)) == [FORWARD]


@pytest.mark.parametrize(
    ("banner", "line"),
    [
        ("SSH-2.0-paramiko_3.4", "python3 backup.py -R 2024 x"),
        ("SSH-2.0-paramiko_3.4", "python3 backup.py -R ${HOME} x"),
        ("SSH-2.0-OpenSSH_9.2p1", "ssh x rsync --server -R 9000:h:80"),
        ("SSH-2.0-PuTTY_Release_0.78", "plink x run -R 9000:h:80"),
    ],
)
def test_grammar_that_asks_for_none(banner: str, line: str) -> None:
    assert found(argv.read(shlex.split(line), banner)) == []


def test_destination() -> None:
    for line in ("ssh u@x", "ssh ssh://u@x:2222", "ssh -p 1 u@x cmd"):
        command = argv.openssh(shlex.split(line))
        assert command is not None
        assert (command.user, command.host) == ("u", "x")


def test_words_that_are_not_text() -> None:
    assert found(argv.openssh(["ssh", "\\xff\x1b[2J", "-R", "9000:h:80"])) == [FORWARD]
    assert words.split_words('a \'b c\' "d\\"e" f\\\\ # g') == ["a", "b c", 'd"e', "f\\"]
    assert words.split_option("") == ("", [])
