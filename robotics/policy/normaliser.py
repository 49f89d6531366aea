"""Observations and actions to and from the range of -1 to 1; its limits are part of the checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLAT = 1e-4
"""A feature that varies less than this is a constant: it is set to 0."""


class Normaliser(nn.Module):
    """Of features [..., F], each by its own limits."""

    low: Tensor
    high: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("low", -torch.ones(size))
        self.register_buffer("high", torch.ones(size))

    def fit(self, values: Tensor) -> None:
        """Take the limits of values [..., F]."""
        flat = values.reshape(-1, values.shape[-1])
        self.low.copy_(flat.amin(0))
        self.high.copy_(flat.amax(0))

    def forward(self, values: Tensor) -> Tensor:
        """Values outside the limits are let through up to twice the range: further away no network has ever been."""
        span = self.high - self.low
        out = (values - self.low) * (2 / span.clamp(min=FLAT)) - 1
        return torch.where(span < FLAT, 0.0, out).clamp_(-2, 2)

    def back(self, values: Tensor) -> Tensor:
        span = self.high - self.low
        return torch.where(span < FLAT, self.low, (values + 1) * (span / 2) + self.low)
