"""Secrets in command lines are hidden; ordinary arguments come through untouched."""

from __future__ import annotations

import pytest
from hypothesis import given as given_any
from hypothesis import strategies

from rubicon.v1 import secrets

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
    (["sh", "-c", "curl -u me:hunter2 http://h"], ["sh", "-c", "curl -u me:*** http://h"]),
    (["sh", "-c", "cd /x && sudo curl -sSume:hunter2 h; ls"], ["sh", "-c", "cd /x && sudo curl -sSume:*** h; ls"]),
    (["sh", "-c", "curl -fsSu 'me:hun ter2' h"], ["sh", "-c", "curl -fsSu me:*** h"]),
    (["sh", "-c", "x | curl --user me:hunter2 h | y"], ["sh", "-c", "x | curl --user me:*** h | y"]),
    (["sh", "-c", "x=$(curl --proxy-user=me:hunter2 h)"], ["sh", "-c", "x=$(curl --proxy-user=me:*** h)"]),
    (["sh", "-c", "bash -c 'curl -u me:hunter2 h'"], ["sh", "-c", "bash -c 'curl -u me:*** h'"]),
    (["sh", "-c", 'ssh h "curl -u me:hunter2 $X"'], ["sh", "-c", 'ssh h "curl -u me:*** $X"']),
    (["sh", "-c", 'sh -c "sh -c \\"mysql -phunter2\\""'], ["sh", "-c", 'sh -c "sh -c \\"mysql -p***\\""']),
    (["sh", "-c", "sh -c 'x --password=hunter2'"], ["sh", "-c", "sh -c 'x --password=***'"]),
    (["sh", "-c", "sh -c 'TOKEN=hunter2 make'"], ["sh", "-c", "sh -c 'TOKEN=*** make'"]),
    (["sh", "-c", "git push https://me:hunter2@h/x"], ["sh", "-c", "git push https://me:***@h/x"]),
    (["sh", "-c", "PASSWORD=hun\\ ter2 make"], ["sh", "-c", "PASSWORD=*** make"]),
    (["sh", "-c", 'curl -H "X-Vault-Token: abc" h'], ["sh", "-c", 'curl -H "X-Vault-Token: ***" h']),
    (
        ["sh", "-c", "sh -c 'curl -H \"Authorization: Bearer abc\" h'"],
        ["sh", "-c", "sh -c 'curl -H \"Authorization: Bearer ***\" h'"],
    ),
    (["sudo", "curl", "-u", "me:hunter2", "h"], ["sudo", "curl", "-u", "me:***", "h"]),
    (["sshpass", "-p", "hunter2", "ssh", "-p", "22", "h"], ["sshpass", "-p", "***", "ssh", "-p", "22", "h"]),
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
    ["sh", "-c", "sort -u a:b | tee 'x y' \"$z\" && echo 'it is' done\\; # it's"],
    ["sh", "-c", "ssh -p 22 h 'docker run -u 1000:1000 image'"],
    ["sh", "-c", "\"unclosed 'quotes \\"],
    [""],
    [],
]


@pytest.mark.parametrize(("given", "expected"), HIDDEN, ids=lambda v: " ".join(v)[:40])
def test_hidden(given: list[str], expected: list[str]) -> None:
    assert secrets.argv(given) == expected


@pytest.mark.parametrize("given", UNTOUCHED, ids=lambda v: " ".join(v)[:40])
def test_untouched(given: list[str]) -> None:
    assert secrets.argv(given) == given


def test_masked_again_is_the_same() -> None:
    for _, expected in HIDDEN:
        assert secrets.argv(expected) == expected


@given_any(strategies.lists(strategies.text("ab '\"\\;&|()`\n$=-:@/*", max_size=60), max_size=4))
def test_whatever_is_given_as_many_come_back(arguments: list[str]) -> None:
    assert len(secrets.argv(["sh", "-c", *arguments])) == len(arguments) + 2
