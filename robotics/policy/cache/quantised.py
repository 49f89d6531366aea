"""Caching and quantization together: CacheQuant (arXiv 2503.01323) and Q&C (2503.02508), on units whose weights have few bits.

A refresh brings the output of a quantized unit, so the schedule that serves best is not the one of exact outputs: the adaptive
scheduler is given, in place of similarities, minus the joint error of both, of the quantized output at one step and the exact
output at another. What remains of it is corrected, for each unit, step and feature, by scale and bias fitted by least squares.
Weights are rounded here and the products are those of floats: what is measured is the error, the time is that of floats.
Shapes: `U` units, `T` steps, `N` rows of all queries, `E` hidden size.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge.core.errors import InputError
from robotics.policy.cache.acs import solve_acs
from robotics.policy.cache.ertacache import Correction, least_squares
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation
from robotics.policy.policy import DiffusionPolicy, attached
from robotics.policy.types import Queries

MADE_ONCE = ("kv", "time")
"""Matrices that are used once a query or once a sampler, and stay exact."""


class QuantisedCache:
    """denoiser: the quantized one; refreshes: of every unit, from step 0 on; corrections: by unit, then step; None: none."""

    def __init__(
        self, denoiser: Denoiser, refreshes: Sequence[Sequence[int]], corrections: Sequence[Sequence[Correction]] | None
    ) -> None:
        self.denoiser, self.refreshes, self.corrections = denoiser, [set(r) for r in refreshes], corrections

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        """Raises InputError for a denoiser with another number of units."""
        if denoiser.units != len(self.refreshes):
            raise InputError(f"the schedule is of {len(self.refreshes)} units, the denoiser has {denoiser.units}; fit one for it")
        self._kept: list[Tensor | None] = [None] * denoiser.units

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        own, step = evaluation.by(self.denoiser), evaluation.step
        h = evaluation.start()
        for u, at in enumerate(self.refreshes):
            if step in at:
                self._kept[u] = own.unit(u, h)
            out = self._kept[u]
            assert out is not None, "step 0 refreshes every unit"
            if self.corrections is not None:
                c = self.corrections[u][step]
                out = torch.addcmul(c.bias, out, c.scale)
            h = h + out
        return evaluation.finish(h)


class _Pairs:
    """A cache that reuses nothing; remembers what every unit and its quantized twin add to the same input."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        self.exact: list[list[Tensor]] = []
        self.rounded: list[list[Tensor]] = []

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h, own = evaluation.start(), evaluation.by(self.denoiser)
        exact, rounded = [], []
        for u in range(evaluation.denoiser.units):
            exact.append(evaluation.unit(u, h))
            rounded.append(own.unit(u, h))
            h = h + exact[-1]
        self.exact.append(exact)
        self.rounded.append(rounded)
        return evaluation.finish(h)


def fit(
    policy: DiffusionPolicy,
    queries: Queries,
    budget: int,
    bits: int = 8,
    *,
    joint: bool = True,
    corrected: bool = True,
    seed: int = 0,
) -> QuantisedCache:
    """For the policy's own sampler, on queries.

    joint: schedule by the error of both, else by that of caching alone; corrected: with scale and bias. Raises InputError for bits
    outside 2 .. 8 and what `solve_acs` refuses.
    """
    twin = quantised(policy.denoiser, bits)
    pairs, exact, rounded = _Pairs(twin), [], []
    generator = torch.Generator().manual_seed(seed)
    with attached(policy, pairs):
        for asked in queries:
            policy.sample(asked, policy.noise(1, generator))
            exact.append(torch.stack([torch.stack(s) for s in pairs.exact]))  # [T, U, 1, H, E]
            rounded.append(torch.stack([torch.stack(s) for s in pairs.rounded]))
    y, x = (torch.cat(t, dim=2).flatten(2, 3).transpose(0, 1).double() for t in (exact, rounded))  # [U, T, N, E]
    refreshes, corrections = [], []
    for u in range(len(y)):
        source = x[u] if joint else y[u]
        size = y[u].flatten(1).square().sum(dim=1).clamp(min=1e-12)
        error = torch.cdist(source.flatten(1), y[u].flatten(1)).square() / size  # [T, T], a row for what is reused
        at = solve_acs(-error.numpy(), budget)
        refreshes.append(at)
        served = [max(c for c in at if c <= t) for t in range(y.shape[1])]
        corrections.append([least_squares(x[u, c], y[u, t]).to(exact[0].dtype) for t, c in enumerate(served)])
    return QuantisedCache(twin, refreshes, corrections if corrected else None)


def quantised(denoiser: nn.Module, bits: int) -> Denoiser:
    """A copy whose units' matrices are rounded to integers of so many bits, symmetric, by output channel."""
    if not 2 <= bits <= 8:
        raise InputError(f"bits {bits}: weights of 2 to 8 bits; choose one of these")
    out = copy.deepcopy(denoiser)
    most = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for name, module in out.get_submodule("layers").named_modules():
            if isinstance(module, nn.Linear) and not name.endswith(MADE_ONCE):
                step = module.weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / most
                module.weight.copy_((module.weight / step).round() * step)
    return out  # pyright: ignore[reportReturnType]
