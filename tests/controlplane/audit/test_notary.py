"""The key that signs, and the file of what it signed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from controlplane.audit.notary import CHECKPOINT_FILE, KEY_FILE, Notary
from controlplane.errors import AuditKeyUnusable
from rubicon.v1.audit_chain import Verifier, signature_fits
from tests.controlplane.audit.desk import Hand, desk

PEM, PKCS8, PLAIN = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
LOCKED = serialization.BestAvailableEncryption(b"word")


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = Notary(tmp_path / "state")
    assert first.fresh
    status = (tmp_path / "state" / KEY_FILE).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, os.geteuid())
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    second = Notary(tmp_path / "state")
    assert (second.fresh, second.public) == (False, first.public)
    assert [path.name for path in (tmp_path / "state").iterdir()] == [KEY_FILE]


def test_what_it_signs_anybody_can_check(tmp_path: Path) -> None:
    notary = Notary(tmp_path)
    signed = notary.sign(7, "ab" * 32, 1_700_000_000_000_000_001)
    assert signature_fits(notary.public, signed.content, signed.signature)
    assert b'"sequence":7,"time":"2023-11-14T22:13:20.000000001Z"' in signed.content


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\n\xff\xfe\n-----END PRIVATE KEY-----\n", "no private key in PEM"),
        (os.urandom(32), "no private key in PEM"),
        (X25519PrivateKey.generate().private_bytes(PEM, PKCS8, PLAIN), "another kind of key"),
        (Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, LOCKED), "no private key in PEM"),
        (Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, PLAIN)[:60], "no private key in PEM"),
    ],
    ids=["empty", "no base64", "raw", "another kind", "with a password", "cut"],
)
def test_a_key_that_is_none_says_what_to_do(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / KEY_FILE).write_bytes(data)
    (tmp_path / KEY_FILE).chmod(0o600)
    with pytest.raises(AuditKeyUnusable, match=says) as caught:
        Notary(tmp_path)
    assert "restore it from a backup" in caught.value.hint
    assert str(tmp_path / KEY_FILE) in caught.value.message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    Notary(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(AuditKeyUnusable, match="must belong to root with mode 0600") as caught:
        Notary(tmp_path)
    assert "chmod 600" in caught.value.hint


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder" / KEY_FILE).mkdir(parents=True, mode=0o700)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / KEY_FILE).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for place in ("folder", "link", "file"):
        with pytest.raises(AuditKeyUnusable, match=str(tmp_path / place)):
            Notary(tmp_path / place)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.root
def test_a_key_of_another_owner_is_refused(tmp_path: Path) -> None:
    Notary(tmp_path)
    os.chown(tmp_path / KEY_FILE, 12345, -1)
    with pytest.raises(AuditKeyUnusable, match="must belong to root"):
        Notary(tmp_path)


def test_the_plane_does_not_start_with_it_and_says_why(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from rubicon.v1.instance import Instance
for name, at in (("run_dir", "run"), ("state_dir", "state")):
    setattr(Instance, name, property(lambda _, at=at: Path({str(tmp_path)!r}) / at))
from controlplane.server import main
sys.exit(main([]))
"""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / KEY_FILE).write_text("no key")
    (tmp_path / "state" / KEY_FILE).chmod(0o600)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rubicon-plane: ")
    assert KEY_FILE in last
    assert "restore it from a backup" in last


def test_checkpoints_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    notary = Notary(tmp_path)
    assert notary.read() == []
    signed = [notary.sign(place, "00" * 32, place) for place in range(1, 4)]
    for each in signed:
        notary.append(each)
    assert notary.read() == Notary(tmp_path).read() == signed
    assert stat.S_IMODE((tmp_path / CHECKPOINT_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("left", [1, 40, 100, 200])
def test_half_a_line_is_what_a_crash_leaves_and_no_alarm(tmp_path: Path, left: int) -> None:
    notary = Notary(tmp_path)
    whole, torn = notary.sign(1, "00" * 32, 1), notary.sign(2, "00" * 32, 2)
    notary.append(whole)
    begun = notary.file.read_bytes()
    notary.append(torn)
    notary.file.write_bytes(notary.file.read_bytes()[: len(begun) + left])
    assert notary.read() == [whole]
    again = Notary(tmp_path)
    assert again.file.read_bytes() == begun
    again.append(torn)
    assert again.read() == [whole, torn]


def test_a_line_that_is_none_is_no_crash(tmp_path: Path) -> None:
    notary = Notary(tmp_path)
    notary.append(notary.sign(1, "00" * 32, 1))
    notary.file.write_bytes(b"what is this\n" + notary.file.read_bytes())
    none, whole = notary.read()
    assert Verifier([notary.public], [none]).finish().faults[0].what == "a checkpoint cannot be read: it was changed"
    assert Verifier([notary.public], [whole]).finish().checkpoints == 1


async def test_a_new_key_is_announced_and_the_old_one_still_counts(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:
        old = opened.audit.notary
        await opened.write(6)
    (tmp_path / KEY_FILE).unlink()
    async with desk(tmp_path) as opened:
        new = opened.audit.notary
        assert new.fingerprint != old.fingerprint
        assert [body["target"] for body in opened.bodies() if body["action"] == "key"] == [
            old.fingerprint,
            new.fingerprint,
        ]
        await opened.write(6)
        await opened.audit.checkpoint()
        report = opened.check()
        assert report.faults == []
        assert set(report.keys) == {old.fingerprint, new.fingerprint}
        Hand(tmp_path).rewrite(3, target="another")
        assert opened.check().faults
