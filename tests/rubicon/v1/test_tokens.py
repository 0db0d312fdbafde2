"""Tokens: what is signed comes back, and nothing else is believed."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest

from rubicon.v1 import tokens
from rubicon.v1.instance import Instance

KEY = bytes(range(32))
WHO = {"uid": 1000, "pid": 42, "start_time": 123_456_789_012, "host": "here", "boot_id": "b-1"}


def make(audience: tokens.Audience = "api", ttl: float = 60.0, key: bytes = KEY) -> str:
    return tokens.issue(
        key, uid=1000, pid=42, start_time=123_456_789_012, host="here", boot_id="b-1", audience=audience, ttl=ttl
    )


@dataclass(frozen=True, slots=True)
class Elsewhere(Instance):
    root: Path = Path()

    @property
    def state_dir(self) -> Path:
        return self.root / "state"


def test_what_was_signed_comes_back() -> None:
    claims = tokens.verify(KEY, make(), "api")
    assert {name: getattr(claims, name) for name in WHO} == WHO
    assert claims.audience == "api"
    assert claims.expires_at - claims.issued_at == pytest.approx(60, abs=1)
    assert claims.identity == "uid 1000 pid 42 @here"


def test_an_expired_token_says_attest_again() -> None:
    with pytest.raises(tokens.TokenExpired, match="attest again"):
        tokens.verify(KEY, make(ttl=-5), "api")


def test_a_token_for_another_audience_is_refused() -> None:
    with pytest.raises(tokens.TokenInvalid):
        tokens.verify(KEY, make("sensor"), "api")


def test_another_key_is_refused() -> None:
    with pytest.raises(tokens.TokenInvalid):
        tokens.verify(KEY, make(key=bytes(32)), "api")


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "é" * 40, "." * 100, "A" * 100_000])
def test_text_that_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(tokens.TokenInvalid):
        tokens.verify(KEY, text, "api")


def test_the_unsigned_algorithm_is_refused() -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    body = make().split(".")[1]
    with pytest.raises(tokens.TokenInvalid):
        tokens.verify(KEY, f"{header}.{body}.", "api")


def test_a_changed_uid_is_refused() -> None:
    header, body, signature = make().split(".")
    payload = json.loads(base64.urlsafe_b64decode(body + "=="))
    payload["uid"] = 0
    changed = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
    with pytest.raises(tokens.TokenInvalid):
        tokens.verify(KEY, f"{header}.{changed}.{signature}", "api")


@pytest.mark.parametrize("missing", ["uid", "pid", "start_time", "host", "boot_id", "exp", "iat"])
def test_a_token_without_a_claim_is_refused(missing: str) -> None:
    payload = {**WHO, "aud": "api", "iat": 1, "exp": 2**33}
    del payload[missing]
    with pytest.raises(tokens.TokenInvalid):
        tokens.verify(KEY, jwt.encode(payload, KEY, algorithm="HS256"), "api")


@pytest.mark.parametrize("value", ["0", 1.5, True, -1, None])
def test_a_uid_that_is_no_number_is_refused(value: object) -> None:
    payload = {**WHO, "uid": value, "aud": "api", "iat": 1, "exp": 2**33}
    with pytest.raises(tokens.TokenInvalid):
        tokens.verify(KEY, jwt.encode(payload, KEY, algorithm="HS256"), "api")


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    instance = Elsewhere("rubicon-t", tmp_path)
    key = tokens.ensure_key(instance)
    assert len(key) == 32
    assert tokens.ensure_key(instance) == key
    assert instance.token_key.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in instance.state_dir.iterdir()] == ["token.key"]


def test_whoever_is_first_wins(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from test_tokens import Elsewhere, tokens; from pathlib import Path;"
        "print(tokens.ensure_key(Elsewhere('rubicon-t', Path(sys.argv[2]))).hex())"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    instance = Elsewhere("rubicon-t", tmp_path)
    tokens.ensure_key(instance)
    instance.token_key.chmod(0o640)
    with pytest.raises(tokens.KeyUnusable, match="0600"):
        tokens.ensure_key(instance)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    instance = Elsewhere("rubicon-t", tmp_path)
    tokens.ensure_key(instance)
    instance.token_key.write_bytes(b"short")
    with pytest.raises(tokens.KeyUnusable, match="5 bytes"):
        tokens.ensure_key(instance)
