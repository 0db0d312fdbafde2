"""The settings file: what it says becomes rules, and what is wrong with it is said with file, line and what to do."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane import detectors
from controlplane.errors import SettingsInvalid
from controlplane.policy import document, file
from controlplane.policy.rules import ACTIONS, SEVERITIES, Rule
from rubicon.v1 import alert_pb2, response_pb2

KNOWN = [module.DETECTOR.id for module in detectors.load()]
KILL, FREEZE, ISOLATE = response_pb2.ACTION_KILL, response_pb2.ACTION_FREEZE, response_pb2.ACTION_ISOLATE
FORWARD = "ssh-remote-forward"


def parse(text: str) -> list[Rule]:
    return file.parse(text, "rubicon.yaml", KNOWN)


def wrong(text: str) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        parse(text)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "respond:\n", "respond: {}\n", "respond: []\n", "---\n"])
def test_nothing_said_is_no_rule(text: str) -> None:
    assert parse(text) == []


def test_short_form() -> None:
    rules = parse(f"respond:\n  {FORWARD}: kill\n  any: isolate\n")
    assert rules == [Rule(KILL, FORWARD), Rule(ISOLATE)]
    assert (rules[0].enforce, rules[0].max_agents_per_minute, rules[0].min_severity) == (True, 10, SEVERITIES["high"])
    assert [rule.name for rule in rules] == [f"{FORWARD}: kill", "any: isolate"]


def test_long_form() -> None:
    rules = parse(
        f"""
        respond:
          - detector: {FORWARD}
            labels: {{job: rome-7, tier: "1"}}
            min_severity: medium
            action: freeze
            mode: monitor
            max_agents_per_minute: 3
          - {{detector: any, action: kill}}
        """
    )
    labels = {"job": "rome-7", "tier": "1"}
    assert rules == [Rule(FREEZE, FORWARD, labels, alert_pb2.SEVERITY_MEDIUM, False, 3), Rule(KILL)]
    assert rules[0].name == f"{FORWARD}: freeze from medium on [job=rome-7,tier=1]"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("respond:\n  ssh-tunnel: kill", 2, "no detector 'ssh-tunnel'"),
        (f"respond:\n  {FORWARD}: stop", 2, "no action 'stop'"),
        (f"respond:\n  {FORWARD}: [kill]", 2, "must be text, not a list"),
        (f"respond:\n  {FORWARD}:", 2, "action is empty"),
        (f"respond:\n  {FORWARD}: yes", 2, "YAML takes yes for something else"),
        (f"respond:\n  {FORWARD}: kill\n  {FORWARD}: freeze", 3, f"has '{FORWARD}' twice, first in line 2"),
        ("respond: kill", 1, "respond must be a mapping, not 'kill'"),
        ("respond:\n  - kill", 2, "a rule must be a mapping"),
        ("respond:\n  - {action: kill}", 2, "no detector"),
        (f"respond:\n  - detector: {FORWARD}", 2, "no action"),
        (f"respond:\n  - detector: {FORWARD}\n    actoin: kill", 3, "no key 'actoin'"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    mode: dry", 4, "no mode 'dry'"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    min_severity: hi", 4, "no min_severity 'hi'"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    labels: job", 4, "labels must be a mapping"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    labels: {{}}", 4, "labels is empty"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    labels: {{job: 7}}", 4, "YAML takes 7"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    labels: {{'': x}}", 4, "no agent can have"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    labels: {{a: [x]}}", 4, "must be text, not a list"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    max_agents_per_minute: 0", 4, "must not be 0"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    max_agents_per_minute: 1.5", 4, "not '1.5'"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    max_agents_per_minute: true", 4, "not 'true'"),
        (f"respond:\n  - detector: {FORWARD}\n    action: kill\n    max_agents_per_minute: 0x10", 4, "decimal"),
        (
            f"respond:\n  - detector: {FORWARD}\n    action: kill\n  - detector: {FORWARD}\n    action: freeze",
            4,
            "never",
        ),
        (f"respond:\n  any: kill\n  {FORWARD}: freeze", 3, "the one in line 2 fits first"),
        ("responds:\n  x: kill", 1, "no key 'responds'"),
        ("policy: {}\nrespond: {}", 1, "no key 'policy'"),
        ("- respond", 1, "the file must be a mapping, not a list"),
        ("respond: &a\n  x: *a", 2, "aliases are not taken"),
        ("respond: !!python/object/apply:os.system ['true']", 1, "tagged"),
        ("respond: !!python/object:os.system {a: b}", 1, "tagged"),
        ("respond: {\n  a: kill", 2, ""),
        ("respond:\n\ta: kill", 2, "cannot start any token"),
        ("respond: {}\n---\nrespond: {}", 2, "another document"),
        ("respond:\n  a: 'x\x07'", 2, "a character that YAML does not allow"),
        ("1: x", 1, "a key of the file must be text"),
        ("? [a]\n: x", 1, "a key of the file must be text, not a list"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, says: str) -> None:
    message = wrong(text)
    assert message.startswith(f"rubicon.yaml:{line}: "), message
    assert says in message


def test_sizes_have_limits() -> None:
    item = "  - {{detector: {0}, action: kill, labels: {{n: '{1}'}}}}\n"
    rules = "".join(item.format(FORWARD, number) for number in range(file.MOST_RULES))
    assert len(parse("respond:\n" + rules)) == file.MOST_RULES
    assert "more than 1000 rules" in wrong("respond:\n" + rules + item.format(FORWARD, "x"))
    assert "levels" in wrong("respond: " + "[" * 5000 + "]" * 5000)
    labels = ", ".join(f"l{number}: x" for number in range(file.MOST_LABELS + 1))
    assert "labels" in wrong(f"respond:\n- {{detector: any, action: kill, labels: {{{labels}}}}}")
    assert "no agent" in wrong(f"respond:\n- {{detector: any, action: kill, labels: {{{'k' * 129}: x}}}}")


def test_long_labels_have_a_name_of_their_own_and_short() -> None:
    names = {Rule(KILL, labels={"a": "x" * 1000 + end}).name for end in "12"}
    assert len(names) == 2
    assert max(map(len, names)) < 200


@given(st.text(max_size=300) | st.text("respond: kil\n-[]{}&*!'\"#|>?%@`,0123", max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    message = ""
    try:
        parse(text)
    except SettingsInvalid as error:
        message = error.message
    assert message == "" or message.startswith("rubicon.yaml:")


severities = st.sampled_from(sorted(SEVERITIES))
label = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
rule = st.fixed_dictionaries(
    {"detector": st.sampled_from([*KNOWN, "any"]), "action": st.sampled_from(sorted(ACTIONS))},
    optional={
        "labels": st.dictionaries(label, label, min_size=1, max_size=3),
        "min_severity": severities,
        "mode": st.sampled_from(["monitor", "enforce"]),
        "max_agents_per_minute": st.integers(1, 10_000),
    },
)


@given(st.lists(rule, max_size=6))
def test_what_is_written_is_what_holds(rules: list[dict[str, object]]) -> None:
    lines = ["respond:"]
    for each in rules:
        lines.append(f"  - detector: {each['detector']}")
        for key, value in each.items():
            if isinstance(value, dict):
                lines.append("    labels:")
                lines += [f"      '{name}': '{word}'" for name, word in value.items()]
            elif key != "detector":
                lines.append(f"    {key}: {value}")
    with contextlib.suppress(SettingsInvalid):
        read_rules(lines, rules)
        return
    assert "never decides" in wrong("\n".join(lines))


def read_rules(lines: list[str], rules: list[dict[str, object]]) -> None:
    found = parse("\n".join(lines) if rules else "respond: []")
    assert len({each.name for each in found}) == len(found) == len(rules)
    for read, written in zip(found, rules, strict=True):
        assert read.detector == ("" if written["detector"] == "any" else written["detector"])
        assert read.action == ACTIONS[str(written["action"])]
        assert read.labels == written.get("labels", {})
        assert read.enforce == (written.get("mode", "enforce") == "enforce")
        assert read.max_agents_per_minute == written.get("max_agents_per_minute", 10)
        assert read.min_severity == SEVERITIES[str(written.get("min_severity", "high"))]


def refused(path: Path) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        file.load(path, KNOWN)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value.message


def test_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "rubicon.yaml"
    assert "No such file" in refused(path)
    path.write_text(f"respond: {{{FORWARD}: kill}}")
    path.chmod(0o644)
    assert file.load(path, KNOWN) == [Rule(KILL, FORWARD)]
    for mode in (0o664, 0o646):
        path.chmod(mode)
        assert "others than root may write it" in refused(path)
    path.chmod(0o600)
    path.write_bytes(b"respond: {}\n# \xff\n")
    assert f"{path}:2: is not UTF-8" in refused(path)
    path.write_bytes(b"#" * (document.MOST_BYTES + 1))
    assert "larger than" in refused(path)
    path.unlink()
    path.mkdir()
    assert "no ordinary file" in refused(path)
    path.rmdir()
    os.mkfifo(path)
    assert "no ordinary file" in refused(path)


@pytest.mark.root
def test_a_strangers_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rubicon.yaml"
    path.write_text("")
    os.chown(path, 65534, 65534)
    assert "others than root may write it" in refused(path)
