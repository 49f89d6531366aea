"""Intervals by bootstrap over scenes.

Windows of one scene share traffic and overlap in time: drawn singly they would make an interval several times too narrow (cluster
bootstrap: Davison & Hinkley 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.core.errors import InputError

F64 = NDArray[np.float64]


def _mean(e: F64) -> float:
    return float(e.mean())


def bootstrap_over_scenes(
    errors: ArrayLike, scenes: Sequence[str], statistic: Callable[[F64], float] = _mean, n: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(statistic of all errors, 2.5 and 97.5 % bounds) when whole scenes are drawn with replacement.

    errors: [N]; scenes: the scene of each. Raises InputError for no errors or another number of scenes.
    """
    e = np.asarray(errors, dtype=np.float64)
    if e.ndim != 1 or not e.size or len(scenes) != e.size:
        raise InputError(f"a bootstrap takes one scene for each error: got {list(e.shape)} errors, {len(scenes)} scenes")
    groups = [e[np.asarray(scenes) == s] for s in sorted(set(scenes))]
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(groups), size=(n, len(groups)))
    if statistic is _mean:  # sums of scenes are enough
        sums, counts = np.array([g.sum() for g in groups]), np.array([g.size for g in groups])
        draws = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    else:
        draws = np.array([statistic(np.concatenate([groups[i] for i in pick])) for pick in picks])
    low, high = np.percentile(draws, [2.5, 97.5])
    return statistic(e), float(low), float(high)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the bounds within which 95 % of resampled means lie. scenes: how many there were to draw from."""

    mean: float
    low: float
    high: float
    scenes: int

    @property
    def width(self) -> float:
        return self.high - self.low

    def as_json(self) -> dict[str, float]:
        return {"mean": self.mean, "low": self.low, "high": self.high}


def interval(errors: ArrayLike, scenes: Sequence[str], n: int = 2000, seed: int = 0) -> Interval:
    """The mean of errors [N] and its 95 % interval by bootstrap over scenes."""
    return Interval(*bootstrap_over_scenes(errors, scenes, n=n, seed=seed), len(set(scenes)))


def paired(errors: ArrayLike, others: ArrayLike, scenes: Sequence[str], n: int = 2000, seed: int = 0) -> Interval:
    """The mean of errors - others [N] on the same windows, and its interval.

    Much narrower than two intervals side by side, since a hard window is hard for both.
    """
    return interval(np.asarray(errors, dtype=np.float64) - np.asarray(others, dtype=np.float64), scenes, n, seed)
