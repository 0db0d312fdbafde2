"""Settings: documented, read from the environment, never guessed."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields

import pytest

from sensor import settings
from sensor.errors import StartFailed
from sensor.ship.spool import CAP_BYTES


def test_every_field_is_documented() -> None:
    tree = ast.parse(inspect.getsource(settings))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name != "Settings":
            body = [each for each in node.body if not isinstance(each, ast.FunctionDef)]
            for place, each in enumerate(body):
                if isinstance(each, ast.AnnAssign):
                    after = body[place + 1] if place + 1 < len(body) else None
                    assert isinstance(after, ast.Expr), f"{node.name}.{ast.unparse(each.target)} has no docstring"


def test_the_environment_sets_them() -> None:
    read = settings.Settings.from_environment(
        {
            "RUBICON_SENSOR_KILL_PATIENCE_S": "0.5",
            "RUBICON_SENSOR_HOST_NAME": "n1",
            "RUBICON_SENSOR_ENROL_MOVE": "never",
        }
    )
    assert (read.kill.patience_s, read.host.name, read.enrol.move) == (0.5, "n1", "never")
    assert read.local == settings.LocalSettings()
    assert read.host.boot_id


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RUBICON_SENSOR_KILL_PATIENCE_S", "soon"),
        ("RUBICON_SENSOR_KILL_PATIENCE_S", "0"),
        ("RUBICON_SENSOR_KILL_PATIENCE_S", "nan"),
        ("RUBICON_SENSOR_KILL_THREADS", "1.5"),
        ("RUBICON_SENSOR_KILL_PATIENCE", "1"),
        ("RUBICON_SENSOR_NOSUCH_THING", "1"),
        ("RUBICON_SENSOR_ENROL_MOVE", "sometimes"),
        ("RUBICON_SENSOR_KERNEL_TAG_HIGH_WATER", "1.5"),
        ("RUBICON_SENSOR_KERNEL_TAG_HIGH_WATER", "1"),
        ("RUBICON_SENSOR_KERNEL_TAG_HIGH_WATER", "0.000001"),
        ("RUBICON_SENSOR_KERNEL_RING_BYTES", "5000000"),
        ("RUBICON_SENSOR_SPOOL_CAP_BYTES", "4096"),
        ("RUBICON_SENSOR_SPOOL_CAP_BYTES", "inf"),
        ("RUBICON_SENSOR_LOCAL_LINE_BYTES", "99999999999"),
    ],
)
def test_a_value_that_cannot_be_is_an_error(variable: str, value: str) -> None:
    with pytest.raises(StartFailed, match=variable):
        settings.Settings.from_environment({variable: value})


def test_the_spool_may_be_larger() -> None:
    read = settings.Settings.from_environment({"RUBICON_SENSOR_SPOOL_CAP_BYTES": str(20 << 30)})
    assert read.spool.cap_bytes == 20 << 30
    assert settings.SpoolSettings().cap_bytes == CAP_BYTES


def test_defaults_are_positive() -> None:
    for concern in fields(settings.Settings):
        for each in fields(getattr(settings.Settings(), concern.name)):
            value = getattr(getattr(settings.Settings(), concern.name), each.name)
            assert isinstance(value, str) or value > 0
