"""The settings file's `respond:`, read into rules. docs/automatic-response.md shows it.

respond:
  ssh-remote-forward: kill

respond:
  - detector: ssh-remote-forward
    labels: {job: rome-7}
    action: kill
  - detector: any
    min_severity: medium
    action: isolate
    mode: monitor
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from controlplane.policy import document
from controlplane.policy.document import Value
from controlplane.policy.rules import ACTIONS, ANY, SEVERITIES, Rule

MOST_RULES, MOST_LABELS, LABEL_KEY, LABEL_VALUE = 1000, 64, 128, 1024
MOST_AGENTS = 10_000
MODES = {"monitor": False, "enforce": True}
KEYS = ("detector", "labels", "min_severity", "action", "mode", "max_agents_per_minute")


def find(given: str, default: Path, detectors: Collection[str]) -> list[Rule]:
    """The rules of the file that was `given`, which must be there, or else of the default one, which may be missing.

    Raises:
        SettingsInvalid: as load().
    """
    if not given and not os.path.lexists(default):
        return []
    return load(Path(given) if given else default, detectors)


def load(path: Path, detectors: Collection[str]) -> list[Rule]:
    """The rules of a settings file, in their order.

    Args:
        detectors: ids that a rule may name.

    Raises:
        SettingsInvalid: the file cannot be read, or something in it cannot be; says file, line and what to do.
    """
    return parse(document.text_of(path), str(path), detectors)


def parse(text: str, file: str, detectors: Collection[str]) -> list[Rule]:
    """As load(), of a text; `file` is its name in messages."""
    top = document.parse(text, file)
    if top is None or top.empty:
        return []
    respond = top.mapping("the file", ("respond",)).get("respond")
    if respond is None or respond.empty:
        return []
    if respond.is_list:
        items = respond.items("respond")
        if len(items) > MOST_RULES:
            items[MOST_RULES].wrong(f"more than {MOST_RULES} rules", "use fewer: labels can name many agents")
        placed = [(item, _rule(item, detectors)) for item in items]
    else:
        placed = []
        for name, value in respond.mapping("respond").items():
            _known(value, name, detectors)
            placed.append((value, Rule(_action(value), detector=_selected(name))))
    _each_once(placed)
    return [rule for _, rule in placed]


def _rule(item: Value, detectors: Collection[str]) -> Rule:
    given = item.mapping("a rule", KEYS)
    for needed in ("detector", "action"):
        if needed not in given:
            item.wrong(f"the rule has no {needed}", f"add '{needed}: …' to it")
    name = given["detector"].text("detector")
    _known(given["detector"], name, detectors)
    rule = Rule(_action(given["action"]), detector=_selected(name))
    return Rule(
        rule.action,
        rule.detector,
        _labels(given["labels"]) if "labels" in given else rule.labels,
        SEVERITIES[_one_of(given["min_severity"], "min_severity", SEVERITIES)]
        if "min_severity" in given
        else rule.min_severity,
        MODES[_one_of(given["mode"], "mode", MODES)] if "mode" in given else rule.enforce,
        given["max_agents_per_minute"].number("max_agents_per_minute", 1, MOST_AGENTS)
        if "max_agents_per_minute" in given
        else rule.max_agents_per_minute,
    )


def _selected(name: str) -> str:
    return "" if name == ANY else name


def _known(value: Value, name: str, detectors: Collection[str]) -> None:
    if name != ANY and name not in detectors:
        value.wrong(f"there is no detector {name!r}", f"use {', '.join(sorted(detectors))}, or {ANY}")


def _action(value: Value) -> int:
    return ACTIONS[_one_of(value, "action", ACTIONS)]


def _one_of(value: Value, what: str, words: Collection[str]) -> str:
    word = value.text(what)
    if word not in words:
        value.wrong(f"there is no {what} {word!r}", f"use {', '.join(words)}")
    return word


def _labels(value: Value) -> dict[str, str]:
    labels = {}
    for key, each in value.mapping("labels").items():
        text = each.text(f"the value of label {key!r}")
        if not 0 < len(key) <= LABEL_KEY or len(text) > LABEL_VALUE:
            each.wrong(
                f"label {key[:40]!r} is one that no agent can have",
                f"use keys of 1 to {LABEL_KEY} and values of at most {LABEL_VALUE} characters",
            )
        labels[key] = text
    if not labels:
        value.wrong("labels is empty", "leave it out for every agent")
    if len(labels) > MOST_LABELS:
        value.wrong(f"more than {MOST_LABELS} labels, which no agent can have", "use fewer")
    return labels


def _each_once(placed: list[tuple[Value, Rule]]) -> None:
    """No rule stands behind one that fits whatever it fits: it would never decide.

    Raises:
        SettingsInvalid: one does.
    """
    for number, (value, rule) in enumerate(placed):
        for earlier_value, earlier in placed[:number]:
            if earlier.covers(rule):
                value.wrong(
                    f"this rule never decides: the one in line {earlier_value.line} fits first",
                    "remove one of them, or put the narrower rule first",
                )
