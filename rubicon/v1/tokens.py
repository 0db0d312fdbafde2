"""Tokens that tell the plane who is calling.

The sensor looks at a caller of its local socket with SO_PEERCRED and SO_PEERPIDFD and signs what it saw; the plane
verifies it with each call, because grpcio shows no peer credentials. HS256 (RFC 7518) with a key that only root can
read: on one host both daemons are root, and nobody else has to verify a token.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rubicon.v1.instance import Instance

Audience = Literal["api", "sensor"]
KEY_BYTES = 32
TTL_S = 60.0
"""Seconds that a token is good for: long enough for a slow start, short enough that a stolen one is soon worthless."""
LEEWAY_S = 1.0
"""Seconds of clock rounding that are forgiven (times in a token are whole seconds)."""

_HEADER = {"alg": "HS256", "typ": "JWT"}
_REQUIRED = ["aud", "boot_id", "exp", "host", "iat", "pid", "start_time", "uid"]


class TokenError(Exception):
    """A token cannot be accepted; the message says what to do."""


class TokenExpired(TokenError):
    """It was good once: attest again."""


class TokenInvalid(TokenError):
    """It is not one of ours, or was changed, or is meant for somebody else."""


class KeyUnusable(TokenError):
    """The key file cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Who was attested, on which host and boot.

    `pid` is the initial namespace's, `start_time` boot-time nanoseconds; `issued_at` and `expires_at` are Unix seconds.
    """

    uid: int
    pid: int
    start_time: int
    host: str
    boot_id: str
    audience: Audience
    issued_at: float
    expires_at: float

    @property
    def identity(self) -> str:
        """How audits name this caller, e.g. "uid 1000 pid 4242 @host"."""
        return f"uid {self.uid} pid {self.pid} @{self.host}"


def issue(
    key: bytes,
    *,
    uid: int,
    pid: int,
    start_time: int,
    host: str,
    boot_id: str,
    audience: Audience,
    ttl: float = TTL_S,
) -> str:
    """Sign a token for a process that the caller has attested; good for `ttl` seconds from now."""
    now = time.time()
    payload: dict[str, object] = {
        "aud": audience,
        "uid": uid,
        "pid": pid,
        "start_time": start_time,
        "host": host,
        "boot_id": boot_id,
        "iat": int(now),
        "exp": int(now + ttl),
    }
    head, body = (_base64(json.dumps(part, separators=(",", ":")).encode()) for part in (_HEADER, payload))
    return f"{head}.{body}.{_base64(hmac.digest(key, f'{head}.{body}'.encode(), 'sha256'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def verify(key: bytes, token: str, audience: Audience) -> Claims:
    """What a token says, once its signature, audience and time have been checked.

    Raises:
        TokenExpired: it was good once.
        TokenInvalid: anything else is wrong with it.
    """
    # PyJWT brings 10 MB and 40 ms of a cryptography library: only who verifies pays for it. The sensor, which may have
    # 60 MB in all, only signs.
    import jwt

    try:
        payload = jwt.decode(
            token,
            key,
            algorithms=["HS256"],
            audience=audience,
            leeway=LEEWAY_S,
            options={"require": _REQUIRED, "strict_aud": True},
        )
    except jwt.ExpiredSignatureError:
        raise TokenExpired("the token has expired: attest again at the sensor's local socket") from None
    except (jwt.InvalidTokenError, ValueError, TypeError) as error:
        raise TokenInvalid(
            f"the token is not one of this host's: {error}; attest at the sensor's local socket"
        ) from None
    for name in ("uid", "pid", "start_time"):
        if type(payload[name]) is not int or payload[name] < 0:
            raise TokenInvalid(f"the token's {name} is not a number; attest at the sensor's local socket")
    return Claims(
        uid=payload["uid"],
        pid=payload["pid"],
        start_time=payload["start_time"],
        host=str(payload["host"]),
        boot_id=str(payload["boot_id"]),
        audience=audience,
        issued_at=float(payload["iat"]),
        expires_at=float(payload["exp"]),
    )


def ensure_key(instance: Instance) -> bytes:
    """The instance's key, made now when there is none yet.

    Safe when sensor and plane start at once: a finished file is linked into place, so whoever is first wins and nobody
    ever reads half a key.

    Raises:
        KeyUnusable: the file is short, or others than its owner can read or replace it.
        OSError: the state folder cannot be written.
    """
    path = instance.token_key
    instance.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # the other daemon was first
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return _read(path)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
            raise KeyUnusable(f"{path} must belong to root with mode 0600: remove it and restart both daemons")
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise KeyUnusable(f"{path} has {len(key)} bytes instead of {KEY_BYTES}: remove it and restart both daemons")
    return key
