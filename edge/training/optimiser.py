"""AdamW and its schedule, as a recipe's section."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from edge.core.config import Frozen, Positive, Share, Weight


class Optimiser(Frozen):
    """AdamW and its schedule."""

    lr: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.95)
    eps: Positive = 1e-8
    weight_decay: Weight = 0.1
    """On matrices alone."""
    clip: Positive = 1.0
    """Largest norm of the gradient."""
    warmup: int = Field(default=100, ge=0)
    """Steps."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    decay_share: Share = 0.2
    """wsd: the share of the steps at the end in which the rate falls linearly."""
    floor: Share = 0.02
    """Last rate as a share of `lr`."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights that are exported; 0: none, the last weights are exported."""

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step `step` (from 0) of `steps`."""
        ramp = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "cosine":
            fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        else:
            tail = max(1, round(self.decay_share * steps))
            fall = min(1.0, (steps - step) / tail)
        return self.lr * ramp * (self.floor + (1 - self.floor) * fall)

    def make(self, model: torch.nn.Module) -> torch.optim.AdamW:
        """For those of a model's parameters that are trained."""
        trained = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim > 1]
        others = [p for p in trained if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)
