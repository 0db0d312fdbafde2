"""How long a freeze or an isolation may last: the one rule."""

from __future__ import annotations

import pytest

from rubicon.v1 import ttl

YEAR_NS = 366 * 86_400 * 10**9


@pytest.mark.parametrize("ttl_ns", [1, 10**9, YEAR_NS])
def test_what_may_be(ttl_ns: int) -> None:
    assert ttl.checked(ttl_ns) == ttl_ns


@pytest.mark.parametrize("ttl_ns", [0, -1, YEAR_NS + 1, 2**63])
def test_what_may_not(ttl_ns: int) -> None:
    with pytest.raises(ValueError, match="366 days"):
        ttl.checked(ttl_ns)


@pytest.mark.parametrize(("seconds", "ttl_ns"), [(0.5, 500_000_000), (1e-12, 1), (366 * 86_400, YEAR_NS)])
def test_seconds(seconds: float, ttl_ns: int) -> None:
    assert ttl.of_seconds(seconds) == ttl_ns == ttl.checked(ttl_ns)


@pytest.mark.parametrize("seconds", [0, -0.5, 366 * 86_400 + 1, float("inf"), float("-inf"), float("nan")])
def test_seconds_that_may_not(seconds: float) -> None:
    with pytest.raises(ValueError, match="366 days"):
        ttl.of_seconds(seconds)
