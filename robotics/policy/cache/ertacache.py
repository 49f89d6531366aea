"""ERTACache: a schedule from residual errors, and what is reused is rectified (arXiv 2508.21091).

Offline, on recorded queries, every step is reused from the last computed one as long as the mean error stays below a threshold, and
a linear correction is fitted for each reused step and feature: what the units add up to is about scale x what they added up to then
+ bias, by least squares. The paper corrects the step size as well; on a sum of residuals that is part of the scale.
Shapes: `T` steps, `N` rows of all queries, `E` hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.cache.statistics import Recorder
from robotics.policy.cache.trunk import TrunkCache
from robotics.policy.policy import DiffusionPolicy, attached
from robotics.policy.types import Queries


@dataclass(frozen=True, slots=True)
class Correction:
    """scale, bias: [E]."""

    scale: Tensor
    bias: Tensor

    def to(self, dtype: torch.dtype) -> Correction:
        return Correction(self.scale.to(dtype), self.bias.to(dtype))


class ErtaCache(TrunkCache):
    """corrections: by step, of those that are reused; all others are computed."""

    def __init__(self, corrections: dict[int, Correction]) -> None:
        super().__init__()
        self.corrections = corrections

    def due(self, step: int, h: Tensor) -> bool:
        return step not in self.corrections

    def taken_over(self, step: int) -> Tensor:
        c = self.corrections[step]
        return torch.addcmul(c.bias, super().taken_over(step), c.scale)


def fit(policy: DiffusionPolicy, queries: Queries, threshold: float, seed: int = 0) -> ErtaCache:
    """For the policy's own sampler, on queries. Raises InputError for a negative threshold."""
    if not threshold >= 0:
        raise InputError(f"threshold {threshold}: a relative error; choose 0 (no reuse) or more")
    recorder, found = Recorder(), []
    generator = torch.Generator().manual_seed(seed)
    with attached(policy, recorder):
        for asked in queries:
            policy.sample(asked, policy.noise(1, generator))
            found.append(torch.stack([sum(step[1:], step[0]) for step in recorder.outputs]))  # [T, 1, H, E]
    sums = torch.cat(found, dim=1).flatten(1, 2).double()  # [T, N, E]
    corrections, last = {}, 0
    for t in range(1, len(sums)):
        line = least_squares(sums[last], sums[t])
        guess = torch.addcmul(line.bias, sums[last], line.scale)
        error = float((guess - sums[t]).norm(dim=-1).mean() / sums[t].norm(dim=-1).mean())
        if error < threshold:
            corrections[t] = line.to(found[0].dtype)
        else:
            last = t
    return ErtaCache(corrections)


def least_squares(x: Tensor, y: Tensor) -> Correction:
    """y from x, every feature by itself. x, y: [N, E]."""
    mx, my = x.mean(dim=0), y.mean(dim=0)
    spread = (x - mx).square().sum(dim=0)
    scale = torch.where(spread > 1e-12, ((x - mx) * (y - my)).sum(dim=0) / spread.clamp(min=1e-12), 1.0)
    return Correction(scale, my - scale * mx)
