"""Units computed at the steps of a schedule, and taken over in between: how BAC, FORA and uniform caching run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation


class ScheduledCache:
    """refreshes: of every unit, the steps at which it is computed, counted from the first denoising step; step 0 is among them.

    Outputs that are taken over in a row are added up once and not at every step, and a step that refreshes nothing is little more
    than embedding and head. A step that refreshes all rounds as no cache does; others need not.
    """

    def __init__(self, refreshes: Sequence[Sequence[int]], steps: int) -> None:
        """Raises InputError for a unit whose first refresh is not step 0, and for steps outside 0 .. steps - 1."""
        for u, at in enumerate(refreshes):
            if not at or min(at) != 0 or max(at) >= steps:
                raise InputError(
                    f"unit {u}: refreshes {list(at)[:8]} must hold step 0 and lie below {steps}; solve the schedule anew"
                )
        self.refreshes, self.steps = [sorted(set(at)) for at in refreshes], steps
        sets = [set(at) for at in refreshes]
        self._runs = [_runs([t in s for s in sets]) for t in range(steps)]
        self._idle = [not any(t in s for s in sets) for t in range(steps)]
        self._kept: list[Tensor | None] = []
        self._sums: dict[tuple[int, int], Tensor] = {}
        self._resting: Any = None

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        if denoiser.units != len(self.refreshes):
            raise InputError(f"the schedule is of {len(self.refreshes)} units, the denoiser has {denoiser.units}; solve one for it")
        if steps != self.steps:
            raise InputError(f"the schedule is of {self.steps} denoising steps, the sampler takes {steps}; solve one for it")
        self._kept, self._sums, self._resting = [None] * denoiser.units, {}, None

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        if self._idle[evaluation.step]:
            if self._resting is None:
                self._resting = evaluation.denoiser.resting(self._sum(0, len(self.refreshes)))
            return evaluation.rest(self._resting)
        self._resting = None
        h = evaluation.start()
        for first, end, refreshed in self._runs[evaluation.step]:
            if refreshed:
                h = h + self._computed(first, h, evaluation)
            else:
                h = h + self._sum(first, end)
        return evaluation.finish(h)

    def _computed(self, u: int, h: Tensor, evaluation: Evaluation) -> Tensor:
        found = evaluation.unit(u, h)
        self._kept[u] = found
        for key in [k for k in self._sums if k[0] <= u < k[1]]:
            del self._sums[key]
        return found

    def _sum(self, first: int, end: int) -> Tensor:
        """Outputs of units first .. end - 1 as they were computed last."""
        if end - first == 1:
            return self._last(first)
        found = self._sums.get((first, end))
        if found is None:
            found = self._last(first)
            for u in range(first + 1, end):
                found = found + self._last(u)
            self._sums[first, end] = found
        return found

    def _last(self, u: int) -> Tensor:
        found = self._kept[u]
        assert found is not None, "step 0 refreshes every unit"
        return found


def _runs(refreshed: Sequence[bool]) -> list[tuple[int, int, bool]]:
    """Units in order as (first, end, refreshed): refreshed ones alone, those that are taken over in runs."""
    out: list[tuple[int, int, bool]] = []
    for u, new in enumerate(refreshed):
        if not new and out and not out[-1][2]:
            out[-1] = (out[-1][0], u + 1, False)
        else:
            out.append((u, u + 1, new))
    return out


def uniform(units: int, steps: int, every: int) -> ScheduledCache:
    """All units at every `every`-th step (FORA; the `threshold` mode of BAC's code). Raises InputError for less than 1."""
    if every < 1:
        raise InputError(f"every {every}: a refresh comes at least at every step; choose 1 or more")
    return ScheduledCache([list(range(0, steps, every))] * units, steps)
