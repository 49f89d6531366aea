"""Intervals by bootstrap over scenes."""

import numpy as np
import pytest

from edge.core.errors import InputError
from robotics.driving.metrics import Interval, bootstrap_over_scenes, interval, paired


def test_bootstrap_over_scenes() -> None:
    rng = np.random.default_rng(1)
    level = rng.normal(5, 1, 12)
    errors, scenes = np.repeat(level, 50) + rng.normal(0, 0.1, 600), [f"s{i}" for i in range(12) for _ in range(50)]
    mean, low, high = bootstrap_over_scenes(errors, scenes, n=500)
    assert low < mean < high
    assert mean == pytest.approx(errors.mean())
    single = bootstrap_over_scenes(errors, [str(i) for i in range(600)], n=500)
    assert (high - low) > 4 * (single[2] - single[1])  # windows of a scene are not independent
    assert bootstrap_over_scenes(errors, scenes, n=500) == (mean, low, high)
    assert bootstrap_over_scenes([2.0, 2.0], ["a", "a"], n=10) == (2.0, 2.0, 2.0)


def test_the_fast_mean_draws_what_any_statistic_draws() -> None:
    rng = np.random.default_rng(3)
    errors, scenes = rng.gamma(2, 2, 90), [f"s{i}" for i in rng.integers(0, 7, 90)]
    fast = bootstrap_over_scenes(errors, scenes, n=300)
    slow = bootstrap_over_scenes(errors, scenes, statistic=lambda e: float(np.mean(e)), n=300)
    assert fast == pytest.approx(slow)
    assert bootstrap_over_scenes(errors, scenes, statistic=lambda e: float(np.median(e)), n=300)[0] == np.median(errors)


def test_paired_differences_are_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(4)
    scenes = [f"s{i}" for i in range(10) for _ in range(20)]
    hard = np.repeat(rng.gamma(2, 2, 10), 20)
    a, b = hard + rng.normal(0.3, 0.1, 200), hard
    both = paired(a, b, scenes)
    assert both.low < 0.3 < both.high
    assert both.width < 0.2 * interval(a, scenes).width
    assert both == Interval(both.mean, both.low, both.high, 10)
    assert both.as_json() == {"mean": both.mean, "low": both.low, "high": both.high}


def test_a_bootstrap_covers_the_truth() -> None:
    """Of intervals over 20 scenes from a known distribution, about 95 % hold its mean; few scenes make them narrow."""
    rng = np.random.default_rng(5)
    held = 0
    for trial in range(150):
        errors = np.repeat(rng.normal(3, 1, 20), 5) + rng.normal(0, 0.3, 100)
        i = interval(errors, [f"s{k}" for k in range(20) for _ in range(5)], n=300, seed=trial)
        held += i.low <= 3 <= i.high
    assert 0.87 < held / 150 <= 1


def test_a_bootstrap_refuses_what_it_cannot_draw() -> None:
    for errors, scenes in (([], []), ([1.0], ["a", "b"]), (np.zeros((2, 2)), ["a", "b"])):
        with pytest.raises(InputError, match="one scene for each error"):
            bootstrap_over_scenes(errors, scenes)
