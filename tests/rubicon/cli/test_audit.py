"""`rubicon audit`: what it lists and shows, what it finds, and an export that is checked without a plane."""

from __future__ import annotations

import base64
import json
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rubicon.v1.audit_chain import fingerprint
from tests.controlplane.audit.desk import Hand
from tests.controlplane.builders import AGENT
from tests.rubicon.cli.conftest import Cli
from tests.rubicon.world import Command, Result, World

RECORD = {
    "sequence", "time", "phase", "request", "identity", "action", "target", "agent", "reason", "alert", "response",
    "outcome", "detail", "hash",
}  # fmt: skip
REPORT = {"ok", "records", "checkpoints", "last", "covered", "fingerprint", "keys", "faults"}


@pytest.fixture
def killed(told: World, cli: Cli) -> World:
    """Somebody killed the agent, for a reason."""
    assert cli("kill", "rollout", "--reason", "it tunnels").code == 0
    return told


@pytest.fixture
def hand(killed: World) -> Hand:
    return Hand(Path(killed.instance.name))


@pytest.fixture
def exported(killed: World, cli: Cli, tmp_path: Path) -> Path:
    file = tmp_path / "audit.jsonl"
    assert cli("audit", "export", "-o", str(file)).code == 0
    return file


def test_list(killed: World, cli: Cli) -> None:
    done, asked = cli("audit", "list", "--json", "--action", "kill").json
    assert done.keys() == asked.keys() == RECORD
    assert (asked["phase"], done["phase"], done["request"]) == ("requested", "result", asked["sequence"])
    assert (done["outcome"], done["agent"], done["reason"]) == ("verified", AGENT, "it tunnels")
    assert re.fullmatch("[0-9a-f]{16}", done["response"])
    assert re.fullmatch(r"uid 0 pid \d+ @rome", done["identity"])
    human = cli("audit", "list").out
    assert "agent rollout" in human
    assert "verified" in human
    assert "asked for" in human


def test_list_by_what_is_asked_for(killed: World, cli: Cli) -> None:
    everything = cli("audit", "list", "--json").json
    numbers = [one["sequence"] for one in everything]
    assert numbers == list(range(len(numbers), 0, -1)), "newest first, without a gap"
    (response,) = {one["response"] for one in everything if one["action"] == "kill"} - {""}

    def found(*words: str) -> list[int]:
        return [one["sequence"] for one in cli("audit", "list", "--json", *words).json]

    assert found("-n", "2") == numbers[:2]
    assert found("rollout") == [one["sequence"] for one in everything if one["agent"] == AGENT]
    assert len(found("--response", response)) == 1
    assert found("--alert", "0" * 16) == []
    assert len(found("--identity", "uid 0 ")) == 2
    assert found("--identity", "uid 1000") == found("--identity", "%") == []
    assert found("--since", "1h") == numbers
    assert found("--until", "1h") == []


def test_show_by_number_and_by_response(killed: World, cli: Cli) -> None:
    done, asked = cli("audit", "list", "--json", "--action", "kill").json
    for word in (done["sequence"], asked["sequence"], done["response"]):
        assert cli("audit", "show", str(word), "--json").json == [asked, done]
    human = cli("audit", "show", done["response"]).out
    for word in ("it tunnels", done["hash"], done["identity"], "2 processes killed"):
        assert word in human
    assert cli("audit", "show", "999").code == 5
    assert cli("audit", "show", "0" * 16).code == 5
    assert cli("audit", "show", "what").code == 2
    assert cli("audit", "show", "99999999999999999999999").code == 2


def test_a_refusal_is_listed_with_its_reason(told: World, cli: Cli) -> None:
    async def refuse(_: Command) -> Result:
        return Result(error_reason="TARGET_PROTECTED", error="it holds your shell")

    told.obey = refuse
    assert cli("kill", "rollout").code == 4
    assert cli("kill", "nobody").code == 5
    (last, *_) = cli("audit", "list", "--json", "--action", "kill").json
    assert (last["outcome"], last["detail"]) == ("TARGET_PROTECTED", "it holds your shell")


def test_verify(killed: World, cli: Cli) -> None:
    done = cli("audit", "verify", "--json")
    (report,) = done.json
    assert report.keys() == REPORT
    assert (done.code, report["ok"], report["faults"]) == (0, True, [])
    assert report["records"] == report["last"] == report["covered"] == len(cli("audit", "list", "--json").lines)
    assert report["keys"] == {report["fingerprint"]: report["checkpoints"]}
    assert "nothing was changed" in cli("audit", "verify").out
    assert cli("audit", "verify", "--key", report["fingerprint"]).code == 0
    assert cli("audit", "verify", "--key", "SHA256:" + "A" * 43).code == 1
    assert cli("audit", "verify", "--key", "no key").code == 2
    assert cli("audit", "verify", "/nowhere").code == 2


def test_verify_exits_with_1_and_says_where(killed: World, cli: Cli, hand: Hand) -> None:
    place = cli("audit", "list", "--json", "--action", "kill").json[1]["sequence"]
    time = hand.body(place)["time"]
    hand.run("UPDATE audit_records SET identity = 'nobody' WHERE sequence = ?", place)
    done = cli("audit", "verify", "--json")
    assert done.code == 1
    assert [(one["first"], one["last"], one["time"]) for one in done.json[0]["faults"]] == [(place, place, time)]
    human = cli("audit", "verify")
    assert human.code == 1
    assert f"record {place} ({time}): " in human.out
    hand.cut(place - 1, checkpoints=True)
    assert f"record {place}" in cli("audit", "verify").out
    assert "cut off" in cli("audit", "verify").out


def test_a_record_that_cannot_be_read_is_shown_all_the_same(killed: World, cli: Cli, hand: Hand) -> None:
    hand.run("UPDATE audit_records SET body = ? WHERE sequence = 2", b"\xff\x1b[2J")
    assert "cannot be read" in cli("audit", "show", "2").out
    assert cli("audit", "list").code == 0


def test_export_is_whole_and_says_its_key(killed: World, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    (told,) = cli("audit", "export", "-o", str(file), "--json").json
    assert told.keys() == {"file", "fingerprint", "records", "checkpoints"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    head, *lines = (json.loads(line) for line in file.read_text().splitlines())
    assert head["rubicon_audit"] == 1
    assert head["fingerprint"] == told["fingerprint"] == fingerprint(base64.b64decode(head["public_key"]))
    assert len([1 for line in lines if "record" in line]) == told["records"]
    assert list(lines[-1]) == ["end", "signature"]
    done = cli("audit", "export")
    assert told["fingerprint"] in done.err
    assert done.lines[0] == file.read_text().splitlines()[0]
    assert cli("audit", "export", "--json").code == 2
    assert cli("audit", "export", "-o", str(tmp_path / "none" / "x")).code == 2
    assert sorted(path.name for path in tmp_path.glob("*jsonl*")) == ["out.jsonl"]


def test_a_hash_can_be_checked_with_ordinary_tools(exported: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()
    (command,) = re.findall(r"^    (sed -n .*)$", page, re.MULTILINE)
    done = subprocess.run(["sh", "-c", command], cwd=exported.parent, capture_output=True, text=True, check=True)
    first = next(line for line in map(json.loads, exported.read_text().splitlines()) if "record" in line)
    assert done.stdout.split()[0] == first["hash"]


def test_an_export_is_checked_without_a_plane(killed: World, cli: Cli, exported: Path, tmp_path: Path) -> None:
    killed.stop_plane()
    head = json.loads(exported.read_text().splitlines()[0])
    done = cli("audit", "verify", str(exported))
    assert done.code == 0
    assert head["fingerprint"] in done.err, "it says whose word that is"
    pem = tmp_path / "audit.pub"
    key = (Path(killed.instance.name) / "audit.key").read_bytes()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, None)
    pem.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for trusted in (head["fingerprint"], head["public_key"], str(pem)):
        done = cli("audit", "verify", str(exported), "--key", trusted, "--json")
        assert (done.code, done.err) == (0, "")
        assert done.json[0]["covered"] == done.json[0]["records"]
    other = base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    assert cli("audit", "verify", str(exported), "--key", other).code == 1
    assert cli("audit", "verify", str(exported), "--key", "SHA256:" + "A" * 43).code == 1
    killed.start_plane()


def _edited(lines: list[str]) -> list[str]:
    return [line.replace("it tunnels", "a mistake") for line in lines]


def _resigned(lines: list[str]) -> list[str]:
    private = Ed25519PrivateKey.generate()
    head = json.loads(lines[0])
    head["public_key"] = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    return [json.dumps(head), *lines[1:]]


def _last(lines: list[str], word: str) -> int:
    return max(number for number, line in enumerate(lines) if line.startswith(f'{{"{word}"'))


@pytest.mark.parametrize(
    "change",
    [
        _edited,
        _resigned,
        lambda lines: lines[:-1],
        lambda lines: lines[:-2],
        lambda lines: [*lines[:-1], lines[-1][:40]],
        lambda lines: [*lines[:-2], lines[-1]],
        lambda lines: [*lines[:-3], lines[-2], lines[-3], lines[-1]],
        lambda lines: [*lines[:-2], lines[-2], lines[-2], lines[-1]],
        lambda lines: [line for number, line in enumerate(lines) if number != _last(lines, "record") - 1],
        lambda lines: [*lines[:-1], "{}", lines[-1]],
        lambda lines: [*lines[:-1], "\x00", lines[-1]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [line.replace('"kind":"export"', '"kind":"checkpoint"') for line in lines],
        lambda lines: lines[:1],
    ],
    ids=[
        "edited", "another key", "no end", "cut", "half a line", "tail deleted", "reordered", "inserted", "deleted",
        "no record", "no json", "two ends", "the end's kind", "nothing",
    ],
)  # fmt: skip
def test_an_export_that_was_changed(exported: Path, cli: Cli, change: Callable[[list[str]], list[str]]) -> None:
    lines = exported.read_text().splitlines()
    exported.write_text("\n".join(change(lines)) + "\n")
    done = cli("audit", "verify", str(exported), "--json")
    assert done.code == 1
    assert done.json[0]["faults"]
    assert cli("audit", "verify", str(exported)).code == 1


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\x00\xff", '{"rubicon_audit": 2}', '{"rubicon_audit": 1}'])
def test_what_is_no_export_is_2(killed: World, cli: Cli, tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    done = cli("audit", "verify", str(tmp_path / "file"))
    assert (done.code, done.out) == (2, "")
    assert "rubicon" in done.err
    assert "Traceback" not in done.err


def test_an_audit_that_was_changed_before_its_export_is_found_in_it(
    killed: World, cli: Cli, hand: Hand, tmp_path: Path
) -> None:
    hand.run("UPDATE audit_records SET body = ? WHERE sequence = 2", b"\xff")
    place = cli("audit", "list", "--json", "--action", "kill").json[1]["sequence"]
    hand.rewrite(place, reason="a mistake")
    file = tmp_path / "x"
    assert cli("audit", "export", "-o", str(file)).code == 0
    (report,) = cli("audit", "verify", str(file), "--json").json
    places = [(one["first"], one["last"]) for one in report["faults"]]
    assert (2, 2) in places
    assert any(first <= place <= last for first, last in places)


def test_nothing_runs_is_3(told: World, cli: Cli) -> None:
    told.stop_plane()
    for words in (("list",), ("show", "1"), ("verify",), ("export",)):
        assert cli("audit", *words).code == 3
    told.start_plane()


@pytest.mark.parametrize("words", [(), ("nosuch",), ("list", "a", "b"), ("list", "-n", "0"), ("show",)])
def test_wrong_usage_is_2(told: World, cli: Cli, words: tuple[str, ...]) -> None:
    assert cli("audit", *words).code == 2
