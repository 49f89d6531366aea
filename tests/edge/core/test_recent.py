"""A bounded memory: the longest unused goes first."""

from __future__ import annotations

import pytest

from edge.core.recent import Recent


def test_the_longest_unused_goes() -> None:
    made: list[int] = []

    def make(n: int) -> int:
        made.append(n)
        return n * n

    recent: Recent[int, int] = Recent(2)
    assert [recent.get(n, lambda n=n: make(n)) for n in (1, 2, 1, 3, 1, 2)] == [1, 4, 1, 9, 1, 4]
    assert made == [1, 2, 3, 2]
    assert len(recent) == 2


def test_failures_are_not_remembered() -> None:
    recent: Recent[str, float] = Recent(1)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 / 0)
    assert recent.get("a", lambda: 2.0) == 2.0
