"""A story for each test of the detectors."""

from __future__ import annotations

import pytest

from tests.controlplane.detectors.story import Story


@pytest.fixture
def story() -> Story:
    return Story()
