"""The key that signs checkpoints, and the file of all that it signed; both are root's alone, in the instance's state folder.

A checkpoint is appended here, and synced, before it stands in the database. So whoever cuts the database's tail together
with its checkpoints is still found by this file, and a checkpoint that only the database has means that the file was cut.
A crash in the middle of an append leaves a line without an end, which counts for nothing and is taken away at the next start.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.audit.record import rfc3339
from controlplane.errors import AuditKeyUnusable
from rubicon.v1.audit_chain import CHECKPOINT, Signed, canonical, fingerprint, to_sign

KEY_FILE, CHECKPOINT_FILE = "audit.key", "audit.checkpoints"
_MOST = 16_384


class Notary:
    """Signs. `fresh` says that the key was made just now."""

    def __init__(self, folder: Path) -> None:
        """Take the folder's key, or make one.

        Raises:
            AuditKeyUnusable: the key, or the file of checkpoints, cannot be used as it is.
        """
        self.folder = folder
        self.file = folder / CHECKPOINT_FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.fresh = not os.path.lexists(folder / KEY_FILE)
            if self.fresh:
                _make(folder / KEY_FILE)
            self._private = _read(folder / KEY_FILE)
            self._mend()
        except OSError as error:
            raise AuditKeyUnusable(f"{error.filename or folder}: {error.strerror}") from error
        self.public = self._private.public_key().public_bytes_raw()
        self.fingerprint = fingerprint(self.public)

    def sign(self, sequence: int, hash_: str, time_ns: int, kind: str = CHECKPOINT) -> Signed:
        """Vouch for the chain up to a place."""
        body = canonical(
            {"kind": kind, "sequence": sequence, "hash": hash_, "time": rfc3339(time_ns), "key": self.fingerprint}
        )
        return Signed(body, self._private.sign(to_sign(body)))

    def append(self, signed: Signed) -> None:
        """Keep a checkpoint in the file; it is durable when this returns. Blocks.

        Raises:
            OSError: the disk does not take it; nothing of it counts.
        """
        line = b"%s %s\n" % (base64.b64encode(signed.signature), signed.content)
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(28, "no room for a whole checkpoint", str(self.file))
                os.fsync(descriptor)
                if not size:
                    _sync(self.folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    def read(self) -> list[Signed]:
        """All that stand in the file, in order; what is no checkpoint comes as one with an empty signature. Blocks.

        Raises:
            OSError: it cannot be read.
        """
        try:
            lines = self.file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        found = []
        for line in lines[:-1]:  # after the last newline stands what a crash left
            signature, _, content = line.partition(b" ")
            try:
                found.append(Signed(content, base64.b64decode(signature, validate=True)))
            except binascii.Error:
                found.append(Signed(line, b""))
        return found

    def _mend(self) -> None:
        """Take away what a crash left of a line."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self.file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "r+b") as file:
                size = file.seek(0, os.SEEK_END)
                start = max(0, size - _MOST)
                file.seek(start)
                tail = file.read()
                if tail and not tail.endswith(b"\n"):
                    file.truncate(start + tail.rfind(b"\n") + 1)


def _sync(folder: Path) -> None:
    """Make a new file's name durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> Ed25519PrivateKey:
    again = (
        "restore it from a backup; without one move it away: a new key is made at the next start, and the audit says so"
    )
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise AuditKeyUnusable(f"{path} is no ordinary file", again)
    with os.fdopen(descriptor, "rb") as file:
        if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
            raise AuditKeyUnusable(
                f"{path} must belong to root with mode 0600: others may have read the key that signs the audit",
                f"'chown root {path}; chmod 600 {path}' if nobody did; else move it away: a new key is made",
            )
        data = file.read(_MOST)
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, binascii.Error) as error:
        raise AuditKeyUnusable(f"{path} is no private key in PEM: {str(error)[:120]}", again) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditKeyUnusable(f"{path} is another kind of key than Ed25519", again)
    return key
