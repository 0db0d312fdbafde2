"""Every detector has its page, its samples with golden alerts, and a test on a real kernel; whoever forgets one is
told here."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane import detectors
from controlplane.model import DetectorModule

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
MODULES = detectors.load()
SECTIONS = ("What it proves", "What it cannot see", "Known false alarms", "What to do", "Sources")


def name_of(module: DetectorModule) -> str:
    return module.__name__.rpartition(".")[2]  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(params=MODULES, ids=name_of)
def module(request: pytest.FixtureRequest) -> DetectorModule:
    return request.param  # type: ignore[no-any-return]


def test_there_are_detectors() -> None:
    assert [module.DETECTOR.id for module in MODULES] == [
        "left-cgroup",
        "sensor-tampering",
        "ssh-outbound",
        "ssh-remote-forward",
        "tag-pressure",
        "work-by-proxy",
    ]


def test_id_follows_the_file(module: DetectorModule) -> None:
    assert module.DETECTOR.id == name_of(module).replace("_", "-")


def test_page(module: DetectorModule) -> None:
    page = REPOSITORY / "docs/detectors" / f"{module.DETECTOR.id}.md"
    text = page.read_text()
    assert text.startswith(f"# {module.DETECTOR.id}\n")
    assert [section for section in SECTIONS if f"\n## {section}\n" not in text] == []
    assert [technique for technique in module.DETECTOR.techniques if technique not in text] == []


def test_docstring_says_what_it_proves(module: DetectorModule) -> None:
    text = module.__doc__ or ""
    assert [start for start in ("Proves:", "Cannot see:", "Known false alarms:", "Sources:") if start not in text] == []


def test_samples(module: DetectorModule) -> None:
    folder = HERE / name_of(module)
    hits, misses = sorted(folder.glob("hit-*.jsonl")), sorted(folder.glob("miss-*.jsonl"))
    assert hits, f"record a hit: {folder}/hit-WHAT.jsonl (make golden)"
    assert misses, f"record a miss: {folder}/miss-WHAT.jsonl (make golden)"
    assert [hit.name for hit in hits if not hit.with_suffix(".golden.json").exists()] == []


def test_real_kernel_test(module: DetectorModule) -> None:
    name = name_of(module)
    found = [
        path for path in (REPOSITORY / "tests/e2e").rglob("test_*.py") if f'"{module.DETECTOR.id}"' in path.read_text()
    ]
    assert found, f"no test under tests/e2e names {name}'s id"
