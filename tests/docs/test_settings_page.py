"""docs/settings.md has every variable that is read, with its default, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

from controlplane import settings as plane
from rubicon.v1.instance import Instance
from sensor import settings as sensor
from tests.docs.pages import REPOSITORY, rows

PAGE = REPOSITORY / "docs/settings.md"
READ = re.compile(r"environ(?:ment)?(?:\.get\(|\[)\"([A-Z_]+)\"(?!\]\s*=[^=])")


def in_code() -> Iterator[tuple[str, object]]:
    """(variable, default) of every field."""
    for prefix, root in (("RUBICON_SENSOR", sensor.Settings()), ("RUBICON_PLANE", plane.Settings())):
        for concern in fields(root):
            values = getattr(root, concern.name)
            for field in fields(values):
                yield f"{prefix}_{concern.name}_{field.name}".upper(), getattr(values, field.name)


def on_page() -> dict[str, str]:
    """Variable → default, as the page has them."""
    return {row[0].strip("`"): row[1] for row in rows(PAGE) if re.match(r"`RUBICON_(SENSOR|PLANE)_[A-Z_]+`$", row[0])}


def test_the_same_variables() -> None:
    code, page = {variable for variable, _ in in_code()}, set(on_page())
    assert code - page == set(), "add them to docs/settings.md"
    assert page - code == set(), "no code reads them"


def test_the_same_defaults() -> None:
    page = on_page()
    for variable, default in in_code():
        if variable.startswith("RUBICON_SENSOR_HOST_"):
            continue  # the host's own
        if variable == "RUBICON_PLANE_SETTINGS_FILE":
            assert page[variable].startswith(str(Instance("rubicon").settings_file))
            continue
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        assert page[variable] == shown, variable


def test_whatever_else_is_read_is_named() -> None:
    text = PAGE.read_text()
    for package in ("rubicon", "sensor", "controlplane"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for variable in READ.findall(path.read_text()):
                assert f"`{variable}`" in text, f"{path.relative_to(REPOSITORY)} reads {variable}"
