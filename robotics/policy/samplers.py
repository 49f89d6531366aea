"""Samplers as tables of numbers: DDPM, DDIM, DPM-Solver++ and Euler steps of flow matching.

All of them predict the clean actions from noisy ones and the network's output, and go on with a weighted sum:

    clean = at_x x + at_out out                 (clipped to +-1 where the sampler does)
    x'    = to_clean clean + to_x x + to_out out + to_before clean of the step before + to_noise z

so a step is a handful of small operations, whatever the sampler. Slow twins: the schedulers of `diffusers`, in the tests.
Sources: DDPM arXiv 2006.11239, eq. 7; DDIM 2010.02502, eq. 12; DPM-Solver++(2M) 2211.01095, algorithm 2; flow matching 2210.02747.
Shapes: `S` denoising steps, `T` steps of the training's noise schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.core.errors import InputError, UnknownNameError

F64 = NDArray[np.float64]
TRAIN_STEPS = 100
"""T: as in Diffusion Policy."""
FLOW_SCALE = 1000.0
"""What a flow's time from 0 to 1 is multiplied by before it is embedded."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step; see the module."""

    at_x: float = 0.0
    at_out: float = 0.0
    to_clean: float = 0.0
    to_x: float = 0.0
    to_out: float = 0.0
    to_before: float = 0.0
    to_noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Sampler:
    """A way from noise to actions. times: what the network is told, float [S]; clip: the clean actions lie within +-1."""

    name: str
    times: Tensor
    rows: tuple[Row, ...]
    clip: bool

    @property
    def stochastic(self) -> bool:
        return any(r.to_noise for r in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def run(self, predict: Callable[[int, Tensor], Tensor], noise: Tensor) -> Tensor:
        """From noise to clean actions [...].

        predict: (step, x) -> the network's output, like x. noise: [1, ...] for samplers that add none, else [S, ...]: the first
        one is where it begins, the others are added on the way.
        """
        x, before = noise[0], None
        added = self._scaled(noise) if self.stochastic else ()
        for i, r in enumerate(self.rows):
            out = predict(i, x)
            clean = None
            if r.to_clean or r.to_before:
                clean = torch.add(x, out, alpha=r.at_out / r.at_x)  # at_x of it: a factor of what it is multiplied by
                if self.clip:
                    clean = clean.clamp_(-1 / r.at_x, 1 / r.at_x)
            x = torch.add(added[i], x, alpha=r.to_x) if r.to_noise else x * r.to_x
            if clean is not None:
                x = x.add_(clean, alpha=r.to_clean * r.at_x)
            if r.to_out:
                x = x.add_(out, alpha=r.to_out)
            if r.to_before and before is not None:
                x = x.add_(before, alpha=r.to_before * self.rows[i - 1].at_x)
            before = clean
        return x

    def _scaled(self, noise: Tensor) -> Sequence[Tensor]:
        """What every step adds of the noise: one product for all of them."""
        scale = torch.tensor([r.to_noise for r in self.rows[:-1]], dtype=noise.dtype)
        return (noise[1 : len(self.rows)] * scale.view(-1, *[1] * (noise.ndim - 1))).unbind(0)


def kept(train_steps: int = TRAIN_STEPS) -> F64:
    """[T], share of the signal's variance left after each step of the squared-cosine schedule (arXiv 2102.09672, eq. 17)."""
    at = np.cos((np.arange(train_steps + 1) / train_steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.asarray(np.cumprod(1 - np.minimum(1 - at[1:] / at[:-1], 0.999)), dtype=np.float64)


def sampler(name: str, steps: int) -> Sampler:
    """A sampler by name, of so many steps. Raises UnknownNameError, and InputError for a number of steps it cannot take."""
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    most = {"flow": 1000, "dpm": TRAIN_STEPS // 2}.get(name, TRAIN_STEPS)
    if not 1 <= steps <= most:
        raise InputError(f"{name}: {steps} denoising steps; choose 1 to {most}")
    return SAMPLERS[name](steps)


def _leading(steps: int) -> list[int]:
    return [i * (TRAIN_STEPS // steps) for i in range(steps)][::-1]


def ddpm(steps: int) -> Sampler:
    """Ancestral sampling with the smaller of the two variances."""
    at, times, rows = kept(), _leading(steps), []
    for t, n in zip(times, [*times[1:], -1], strict=True):
        now, then = at[t], at[n] if n >= 0 else 1.0
        step = now / then
        noise = math.sqrt(max((1 - then) / (1 - now) * (1 - step), 1e-20)) if t > 0 else 0.0
        rows.append(
            Row(
                **_clean_of_noise(now),
                to_clean=math.sqrt(then) * (1 - step) / (1 - now),
                to_x=math.sqrt(step) * (1 - then) / (1 - now),
                to_noise=noise,
            )
        )
    return _made("ddpm", times, rows, clip=True)


def ddim(steps: int) -> Sampler:
    """The deterministic one (eta 0)."""
    at, times, rows = kept(), _leading(steps), []
    for t, n in zip(times, [*times[1:], -1], strict=True):
        then = at[n] if n >= 0 else 1.0
        rows.append(Row(**_clean_of_noise(at[t]), to_clean=math.sqrt(then), to_out=math.sqrt(1 - then)))
    return _made("ddim", times, rows, clip=True)


def dpm(steps: int) -> Sampler:
    """DPM-Solver++(2M): multistep, of second order but for the first and the last step.

    Clean actions are clipped as in the others (its authors' `thresholding`): at the first step next to nothing of the signal is
    left, and what the network misses of the noise would be divided by that.
    """
    at = kept()
    times = np.linspace(0, TRAIN_STEPS - 1, steps + 1).round()[::-1][:-1].astype(int).tolist()
    alpha, sigma = np.sqrt(at[times]), np.sqrt(1 - at[times])
    alpha, sigma = np.append(alpha, 1.0), np.append(sigma, 0.0)
    with np.errstate(divide="ignore"):
        half_log_snr = np.log(alpha) - np.log(sigma)
    rows = []
    for i in range(steps):
        h = half_log_snr[i + 1] - half_log_snr[i]
        gain = -alpha[i + 1] * math.expm1(-h)
        first = i == 0 or (i == steps - 1)
        slope = 0.0 if first else 0.5 * h / (half_log_snr[i] - half_log_snr[i - 1])
        rows.append(
            Row(
                **_clean_of_noise(float(at[times[i]])),
                to_clean=gain * (1 + slope),
                to_before=-gain * slope,
                to_x=sigma[i + 1] / sigma[i],
            )
        )
    return _made("dpm", times, rows, clip=True)


def flow(steps: int) -> Sampler:
    """Euler steps of equal length along the straight path; the network predicts noise less actions."""
    times = [1 - i / steps for i in range(steps)]
    return _made("flow", [FLOW_SCALE * t for t in times], [Row(to_x=1.0, to_out=-1 / steps)] * steps, clip=False)


SAMPLERS: dict[str, Callable[[int], Sampler]] = {"ddpm": ddpm, "ddim": ddim, "dpm": dpm, "flow": flow}


def _clean_of_noise(kept: float) -> dict[str, float]:
    """The network predicts the noise: clean = (x - sqrt(1 - kept) out) / sqrt(kept)."""
    return {"at_x": 1 / math.sqrt(kept), "at_out": -math.sqrt((1 - kept) / kept)}


def _made(name: str, times: Sequence[float], rows: Sequence[Row], clip: bool) -> Sampler:
    return Sampler(name, torch.tensor(times, dtype=torch.float32), tuple(rows), clip)
