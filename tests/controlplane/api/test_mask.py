"""Secrets never leave the plane unasked; ordinary arguments come through untouched."""

from __future__ import annotations

import pytest

from controlplane.api import mask
from rubicon.v1 import event_pb2

AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
ANTHROPIC = "sk-ant-" + "api03-abcdefghijklmnop_QRSTUVWXYZ"
HUGGING = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWx"

HIDDEN = [
    (["mysql", "--password", "hunter2", "db"], ["mysql", "--password", "***", "db"]),
    (["x", "--password=hunter2"], ["x", "--password=***"]),
    (["x", "-password", "hunter2"], ["x", "-password", "***"]),
    (["x", "--db-password=hunter2", "y"], ["x", "--db-password=***", "y"]),
    (["x", "--token", "abc123"], ["x", "--token", "***"]),
    (["x", "--authToken=abc123"], ["x", "--authToken=***"]),
    (["x", "--api-key", "k"], ["x", "--api-key", "***"]),
    (["x", "--apikey=k"], ["x", "--apikey=***"]),
    (["x", "--client-secret=k"], ["x", "--client-secret=***"]),
    (["x", "--password=a=b c"], ["x", "--password=***"]),
    (
        ["env", "API_KEY=abc", "DB_PWD=q", "HOME=/root", "run"],
        ["env", "API_KEY=***", "DB_PWD=***", "HOME=/root", "run"],
    ),
    (["env", "OPENAI_API_KEY=zzz"], ["env", "OPENAI_API_KEY=***"]),
    (["env", "AWS_SECRET_ACCESS_KEY=zzz"], ["env", "AWS_SECRET_ACCESS_KEY=***"]),
    (["x", AWS], ["x", "***"]),
    (["x", f"id={AWS},y"], ["x", "id=***,y"]),
    (["git", "clone", f"https://{GITHUB}@github.com/a/b"], ["git", "clone", "https://***@github.com/a/b"]),
    (["x", ANTHROPIC, HUGGING], ["x", "***", "***"]),
    (["psql", "postgresql://me:hunter2@db:5432/x"], ["psql", "postgresql://me:***@db:5432/x"]),
    (["redis-cli", "-u", "redis://:hunter2@h"], ["redis-cli", "-u", "redis://:***@h"]),
    (["curl", "-H", "Authorization: Bearer abc.def"], ["curl", "-H", "Authorization: Bearer ***"]),
    (["curl", "-HX-Api-Key: abc"], ["curl", "-HX-Api-Key: ***"]),
    (["curl", "-u", "me:hunter2", "http://h"], ["curl", "-u", "me:***", "http://h"]),
    (["/usr/bin/curl", "-ume:hunter2"], ["/usr/bin/curl", "-ume:***"]),
    (["mysql", "-phunter2"], ["mysql", "-p***"]),
    (["sshpass", "-p", "hunter2", "ssh", "h"], ["sshpass", "-p", "***", "ssh", "h"]),
    (["redis-cli", "-a", "hunter2"], ["redis-cli", "-a", "***"]),
    (["openssl", "enc", "-pass", "pass:hunter2"], ["openssl", "enc", "-pass", "***"]),
    (["openssl", "rsa", "-passin", "pass:hunter2"], ["openssl", "rsa", "-passin", "pass:***"]),
    (
        ["sh", "-c", "export TOKEN=abc; curl -H 'Authorization: Bearer q' --password hunter2 h"],
        ["sh", "-c", "export TOKEN=***; curl -H 'Authorization: Bearer ***' --password *** h"],
    ),
    (["sh", "-c", "SECRET='a b' run"], ["sh", "-c", "SECRET=*** run"]),
    (["x", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----"], ["x", "***"]),
]

UNTOUCHED = [
    ["ssh", "-R", "8080:localhost:22", "-i", "/root/.ssh/id", "u@h"],
    ["ssh", "-p", "443", "h"],
    ["docker", "login", "--password-stdin", "registry.example"],
    ["x", "--token-file", "/run/token"],
    ["x", "--no-password", "next"],
    ["train", "--max-tokens", "100", "--tokenizer", "bpe", "--pad-token", "0"],
    ["git", "log", "--author=me", "--pretty=format:%h"],
    ["env", "PWD=/tmp", "OLDPWD=/", "PATH=/bin", "make"],
    ["env", "GOOGLE_APPLICATION_CREDENTIALS=/etc/key.json"],
    ["docker", "run", "-u", "1000:1000", "image"],
    ["sort", "-u", "a:b"],
    ["mkdir", "-p", "secret/token"],
    ["scp", "user@host:path", "passwords.txt"],
    ["curl", "http://h:80/a@b"],
    ["x", "--password"],
    ["grep", "password", "file"],
    [""],
    [],
]


@pytest.mark.parametrize(("given", "expected"), HIDDEN, ids=lambda v: " ".join(v)[:40])
def test_hidden(given: list[str], expected: list[str]) -> None:
    assert mask.argv(given) == expected


@pytest.mark.parametrize("given", UNTOUCHED, ids=lambda v: " ".join(v)[:40])
def test_untouched(given: list[str]) -> None:
    assert mask.argv(given) == given


def test_masked_again_is_the_same() -> None:
    for _, expected in HIDDEN:
        assert mask.argv(expected) == expected


def test_event_keeps_bytes_that_are_not_utf8_and_the_stored_one() -> None:
    event = event_pb2.Event(exec=event_pb2.Exec(argv=[b"x", b"\xff\xfe", "é".encode(), b"--token", b"abc"]))
    hidden = mask.event(event)
    assert list(hidden.exec.argv) == [b"x", b"\xff\xfe", "é".encode(), b"--token", b"***"]
    assert event.exec.argv[4] == b"abc"


def test_payload_header() -> None:
    data = b"GET / HTTP/1.1\r\nAuthorization: Bearer abc\r\nHost: h\r\n"
    hidden = mask.event(event_pb2.Event(payload=event_pb2.Payload(data=data)))
    assert hidden.payload.data == b"GET / HTTP/1.1\r\nAuthorization: Bearer ***\r\nHost: h\r\n"
