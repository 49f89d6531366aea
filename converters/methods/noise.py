"""How much is masked, and what: levels `t` and the draws that they decide.

Every function takes its random numbers from a generator and nothing else. Shapes: `K` blocks, `L` tokens of a sample.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EPS = 1e-3
"""Least share that is masked, of nearly all papers."""

F64 = NDArray[np.float64]


def probability(t: F64, eps: float = EPS) -> F64:
    """(1 - eps) t + eps."""
    return (1 - eps) * t + eps


def strata(count: int, rng: np.random.Generator, *, shuffle: bool = True) -> F64:
    """[count] levels, one in each of `count` equal parts of 0 to 1 (antithetic sampling of BD3-LM and DiffusionVL).

    shuffle: which part falls to whom is drawn too. Without, as in DiffusionVL's release, the level rises from the first block to
    the last.
    """
    t = (rng.random(count) / count + np.arange(count) / count) % 1
    return rng.permutation(t) if shuffle else t


def beta(mean: float, concentration: float, count: int, rng: np.random.Generator) -> F64:
    """[count] levels from Beta(mean C, (1 - mean) C) (SDAR-VL)."""
    return rng.beta(mean * concentration, (1 - mean) * concentration, count)


def annealed(progress: float, start: float, end: float) -> float:
    """A number on the line from `start` to `end`. progress: 0 to 1."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def draw(p: F64, among: Tensor, rng: np.random.Generator) -> Tensor:
    """bool [L]: every token of `among` (bool [L]) with its probability p [L]."""
    return torch.from_numpy(rng.random(len(p)) < p) & among


def draw_one_at_least(p: float, among: Tensor, rng: np.random.Generator) -> Tensor:
    """bool [L]: as `draw` with one p for all, but never nothing of the whole sample (LaViDa): the bar is raised to the least
    draw, which may have fallen on a token that is not among them.
    """
    u = rng.random(len(among))
    return torch.from_numpy(u <= max(p, float(u.min()))) & among


def exact(block: Tensor, share: F64, among: Tensor, rng: np.random.Generator) -> Tensor:
    """bool [L]: of each block's n tokens of `among` exactly round(n g) (WeDLM). share: [K], g of each block."""
    out = torch.zeros_like(among)
    for k, g in enumerate(share):
        own = (among & (block == k)).nonzero().flatten().numpy()
        count = round(len(own) * float(g))
        out[torch.from_numpy(rng.permutation(own)[:count])] = True
    return out
