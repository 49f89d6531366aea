"""A small network from numbers to a path: offsets of five waypoints from constant velocity.

Its weights are plain numbers in `planner.json` and it runs in float64 numpy, so that a trajectory is decoded alike everywhere.
A straight term beside the hidden layer keeps it close to a linear path; features are held within four deviations, since beyond
them there was nothing to learn from. Shapes: `F` features, `H` hidden units, `N` examples.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator

from edge.core.config import Frozen
from robotics.driving.baselines import velocity
from robotics.driving.metrics import dense
from robotics.driving.prompt import EgoHistory

F64 = NDArray[np.float64]
Matrix = tuple[tuple[float, ...], ...]

SECONDS = np.arange(1.0, 6.0)
WIDEST = 4.0
"""Deviations beyond which a feature counts no more."""


def motion_features(history: EgoHistory, command: str) -> F64:
    """The ego's motion in 20 numbers: velocity, speed, accelerations, yaw rate, how the past differs from them, route."""
    xy, v = history.xy(), history.points[-1].v_mps
    forward = velocity(xy)
    back = xy[:3] + forward * np.array([2.0, 1.5, 1.0])[:, None]
    slower = [p.v_mps - v for p in history.points[:-1]]
    turns = np.array([command == "GO_LEFT", command == "GO_RIGHT"], dtype=np.float64)
    return np.concatenate([forward, [v], history.motion(), back.ravel(), slower, turns, turns * v / 10])


class PathNet(Frozen):
    """offsets = (silu(z hidden + hidden_bias) out + out_bias + z straight) * seconds, with z the standardised features.

    mean, scale: [F]; hidden: [F][H]; out: [H][10], x and y of each waypoint in turn; straight: [F][10].
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    hidden: Matrix
    hidden_bias: tuple[float, ...]
    out: Matrix
    out_bias: tuple[float, ...]
    straight: Matrix

    @model_validator(mode="after")
    def _shape(self) -> Self:
        f, h, o = len(self.mean), len(self.hidden_bias), 2 * SECONDS.size
        for name, rows, columns in (("hidden", f, h), ("out", h, o), ("straight", f, o)):
            matrix = getattr(self, name)
            if len(matrix) != rows or any(len(row) != columns for row in matrix):
                raise ValueError(f"{name} holds {rows} rows of {columns} numbers")
        if len(self.scale) != f or len(self.out_bias) != o or not all(s > 0 for s in self.scale):
            raise ValueError(f"scale holds {f} positive numbers and out_bias {o} numbers")
        return self

    def __call__(self, features: ArrayLike) -> F64:
        """features [..., F] -> offsets [..., 5, 2] m."""
        x = np.asarray(features, dtype=np.float64)
        z = np.clip((x - np.array(self.mean)) / np.array(self.scale), -WIDEST, WIDEST)
        a = z @ np.array(self.hidden) + np.array(self.hidden_bias)
        y = (a / (1 + np.exp(-a))) @ np.array(self.out) + np.array(self.out_bias) + z @ np.array(self.straight)
        return y.reshape(*x.shape[:-1], SECONDS.size, 2) * SECONDS[:, None]


def fit(
    features: ArrayLike,
    offsets: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    hidden: int = 32,
    steps: int = 600,
    batch: int = 256,
    rate: float = 4e-3,
    noise: float = 0.2,
    seed: int = 0,
) -> PathNet:
    """The network of least mean distance on the 0.5 s grid, between waypoints along the spline that planners are measured by.

    features: [N, F]; offsets: [N, 5, 2] m from constant velocity; weights: [N], how often each example is drawn. Distance rather
    than its square gives the middle of what happened; `noise` deviations are added to the features, which smooths the fit where
    examples are few. AdamW, a rate that falls as a cosine. The same on every run of one machine.
    """
    import torch

    x, y = np.asarray(features, dtype=np.float64), np.asarray(offsets, dtype=np.float64).reshape(-1, 2 * SECONDS.size)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-6] = 1.0
    z = torch.tensor(np.clip((x - mean) / scale, -WIDEST, WIDEST), dtype=torch.float32)
    units = np.eye(2 * SECONDS.size).reshape(-1, SECONDS.size, 2)
    spline = torch.tensor(dense(units, np.zeros((len(units), 2))).reshape(len(units), -1), dtype=torch.float32)
    target = torch.tensor(y, dtype=torch.float32) @ spline
    chance = torch.ones(len(x)) if weights is None else torch.tensor(np.asarray(weights), dtype=torch.float32)
    rng = torch.Generator().manual_seed(seed)
    f, o = x.shape[1], 2 * SECONDS.size
    w1, b1 = torch.randn(f, hidden, generator=rng) / f**0.5, torch.zeros(hidden)
    w2, b2, w3 = torch.zeros(hidden, o), torch.zeros(o), torch.zeros(f, o)
    parameters = [p.requires_grad_() for p in (w1, b1, w2, b2, w3)]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-2)
    seconds = torch.tensor(SECONDS, dtype=torch.float32).repeat_interleave(2)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 40) * (0.5 * (1 + np.cos(np.pi * step / steps)) + 0.01)
        drawn = torch.multinomial(chance, batch, replacement=True, generator=rng)
        a = z[drawn] + noise * torch.randn(batch, f, generator=rng)
        path = (torch.nn.functional.silu(a @ w1 + b1) @ w2 + b2 + a @ w3) * seconds
        apart = (path @ spline - target[drawn]).view(batch, -1, 2)
        loss = (apart.pow(2).sum(-1) + 1e-4).sqrt().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def plain(values: np.ndarray) -> list[float]:
        return [float(f"{v:.6g}") for v in values]

    arrays = [p.detach().double().numpy() for p in parameters]
    rows = [tuple(tuple(plain(r)) for r in a) if a.ndim == 2 else tuple(plain(a)) for a in arrays]
    names = ("hidden", "hidden_bias", "out", "out_bias", "straight")
    return PathNet(mean=tuple(plain(mean)), scale=tuple(plain(scale)), **dict(zip(names, rows, strict=True)))  # type: ignore[arg-type]
