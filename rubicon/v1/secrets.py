"""Hides secrets in command lines, in variables and in texts made of them: one rule for the plane's answers and for snapshots.

What is looked for, each a known habit:

* flags and variables with a telling name: `--password X`, `--db-password=X`, `-token X`, `API_KEY=X`; not
  `--password-file`, `--no-password`, `--max-tokens`, `PWD=`;
* values with a known shape: AWS, GitHub, GitLab, OpenAI, Anthropic, Hugging Face, Slack, Google, npm, PyPI keys, JSON
  web tokens, PEM private keys;
* `scheme://user:PASS@host`, `Authorization:` and API-key headers, `curl -u user:PASS`, `mysql -pPASS`,
  `sshpass -p PASS`, `redis-cli -a PASS`, OpenSSL's `pass:PASS`.

All of it also in the text of a `sh -c`, and in texts that are quoted inside it, six deep.

It cannot know a secret that looks like any other word. A masked value is always `***`, so its length tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rubicon.v1 import shell

MASK = "***"
_DEPTH = 6
"""Texts inside texts that are taken apart; what lies deeper is still looked at as plain text."""


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


_SECRET = _words(
    "password passwd passwort passphrase pass pwd secret secrets token apikey apitoken accesskey secretkey authtoken "
    "bearer credential credentials auth oauth"
)
_SECRET_PAIRS = frozenset(
    {("api", "key"), ("access", "key"), ("secret", "key"), ("account", "key"), ("signing", "key"), ("auth", "key")}
    | {("encryption", "key"), ("license", "key"), ("session", "key"), ("shared", "key")}
)
# The last word says that the value only points at the secret, or speaks about it.
_ABOUT = _words(
    "file files path dir stdin prompt env fd name names length len policy type types ttl url uri endpoint id ids mode "
    "method size limit count command cmd helper provider store source sock socket expiry timeout hash"
)
_NOT_BEFORE = _words("no without max min num n pad eos bos unk mask special next skip disable ask")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PATH = re.compile(r"(?:~|\.{0,2})/[\w./@+~-]*")
_MAY_BE_PATH = frozenset({"credential", "credentials", "auth", "oauth", "key"})

_NAME = r"[A-Za-z][A-Za-z0-9_.-]*"
_FLAG = re.compile(rf"--?({_NAME})(?:=(.*))?", re.DOTALL)
_PAIR = re.compile(rf"({_NAME})=(.+)", re.DOTALL)
_VALUE = r"\"[^\"]*\"|'[^']*'|[^\s;&|'\"]+"
_IN_TEXT = re.compile(rf"(?<![\w.-])(?:(-{{0,2}}{_NAME}=)|(--?{_NAME}[ \t]+))({_VALUE})")

_SHAPES = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{16,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|\bAIza[0-9A-Za-z_-]{35}|\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_-]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,24}://[^\s/@:'\"]*):([^\s/@'\"]+)@")
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|api-key|private-token|cookie|set-cookie|x-[a-z0-9-]*(?:token|key|secret))"
    r"(\s*:\s*)((?:basic|bearer|digest|token|negotiate)\s+)?([^\r\n'\"]+)",
    re.IGNORECASE,
)
_OPENSSL = re.compile(r"\bpass:[^\s'\"]+")

# Programs that take a secret behind a short flag: glued to it, or as the next argument.
_SHORT: dict[str, tuple[str, ...]] = {
    "sshpass": ("-p",),
    "redis-cli": ("-a",),
    "mysql": ("-p",),
    "mysqldump": ("-p",),
    "mysqladmin": ("-p",),
    "mariadb": ("-p",),
    "mariadb-dump": ("-p",),
    "mosquitto_pub": ("-P",),
    "mosquitto_sub": ("-P",),
    "smbclient": ("-U",),
    "ldapsearch": ("-w",),
}
_GLUED_ONLY = frozenset({"mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump"})
_SHELLS = _words("sh ash bash dash ksh mksh zsh fish busybox su runuser")
_SHELL_TEXT = re.compile(r"-[A-Za-z]*c|--command")
_USER_PASS = frozenset({"curl", "wget", "http", "https", "xh"})
# -u may end a cluster of curl's flags that take no value.
_USER = re.compile(r"-[#0146afgiIjJklLnNOpqsSvZ]*[uU]|--user|--proxy-user|-a|--auth")
_USER_GLUED = re.compile(r"(-[#0146afgiIjJklLnNOpqsSvZ]*[uU]|--user=|--proxy-user=|--auth=)([^:]+):(.+)", re.DOTALL)
_PROGRAMS = _SHELLS | _USER_PASS | _SHORT.keys()


def is_secret_name(name: str) -> bool:
    """True when a flag or variable of this name holds a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT or words[0] in _NOT_BEFORE:
        return False
    if words in (["pwd"], ["oldpwd"]):
        return False
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        if word in _SECRET and before not in _NOT_BEFORE:
            return True
        if (before, word) in _SECRET_PAIRS:
            return True
    return False


def _is_secret(name: str, value: str) -> bool:
    if not value or not is_secret_name(name):
        return False
    words = {word.lower() for word in _WORD.findall(name)}
    return not (_PATH.fullmatch(value) and words & _MAY_BE_PATH and not words & (_SECRET - _MAY_BE_PATH))


def text(value: str) -> str:
    """A text (a shell command, a sentence) with its secrets hidden."""
    return _text(value, 0)


def argv(arguments: Sequence[str]) -> list[str]:
    """Arguments with their secrets hidden; as many as before."""
    return _argv(arguments, 0)


def _text(value: str, depth: int) -> str:
    def named(match: re.Match[str]) -> str:
        before = match[1] or match[2]
        secret = match[3]
        if match[2] and secret.startswith("-"):
            return match.group()
        return f"{before}{MASK}" if _is_secret(before.strip("-= \t"), secret.strip("'\"")) else match.group()

    if depth < _DEPTH:
        value = shell.rewrite(value, lambda words: _argv(words, depth + 1))
    value = _SHAPES.sub(MASK, value)
    value = _URL.sub(rf"\1:{MASK}@", value)
    value = headers(value)
    value = _OPENSSL.sub(f"pass:{MASK}", value)
    return _IN_TEXT.sub(named, value)


def _argv(arguments: Sequence[str], depth: int) -> list[str]:
    program = ""
    out: list[str] = []
    following: Callable[[str], str] | None = None
    for argument in arguments:
        if following is not None and not argument.startswith("-"):
            out.append(following(argument))
            following = None
            continue
        hidden, following = _argument(program, argument, depth)
        out.append(hidden)
        name = argument.rpartition("/")[2]
        # behind sudo, env, timeout … the program that matters comes later
        if not program or name in _PROGRAMS or (program == "sshpass" and name[:1] != "-"):
            program = name
    return out


def _argument(program: str, argument: str, depth: int) -> tuple[str, Callable[[str], str] | None]:
    """One argument, and what is to be done with the next one if that is its value."""
    for flag in _SHORT.get(program, ()):
        if argument == flag and program not in _GLUED_ONLY:
            return argument, _after_percent if program == "smbclient" else _whole
        if argument.startswith(flag) and len(argument) > len(flag) and not argument.startswith("--"):
            return f"{flag}{MASK}", None
    if program in _SHELLS and _SHELL_TEXT.fullmatch(argument):
        return argument, lambda value: _text(value, depth)
    if program in _USER_PASS and _USER.fullmatch(argument):
        return argument, _after_colon
    if program in _USER_PASS and (glued := _USER_GLUED.fullmatch(argument)):
        return f"{glued[1]}{glued[2]}:{MASK}", None
    if flag_match := _FLAG.fullmatch(argument):
        name, value = flag_match.groups()
        if value is not None:
            return (f"{argument[: -len(value)]}{MASK}" if _is_secret(name, value) else _text(argument, depth)), None
        return argument, _named(name) if is_secret_name(name) else None
    pair = _PAIR.fullmatch(argument)
    if pair and pair[2][0] not in "'\"*" and _is_secret(pair[1], pair[2]):
        return f"{pair[1]}={MASK}", None
    return _text(argument, depth), None


def _whole(_: str) -> str:
    return MASK


def _named(name: str) -> Callable[[str], str]:
    return lambda value: MASK if _is_secret(name, value) else value


def _after_colon(value: str) -> str:
    user, colon, password = value.partition(":")
    return f"{user}:{MASK}" if colon and password else text(value)


def _after_percent(value: str) -> str:
    user, percent, password = value.partition("%")
    return f"{user}%{MASK}" if percent and password else value


def variable(name: str, value: str) -> str:
    """The value of an environment variable with its secrets hidden."""
    return MASK if _is_secret(name, value) else text(value)


def headers(value: str) -> str:
    """A text with the secrets of HTTP headers hidden, and nothing else."""
    return _HEADER.sub(lambda m: f"{m[1]}{m[2]}{m[3] or ''}{MASK}", value)
