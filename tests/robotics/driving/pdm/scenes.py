"""Small made-up situations."""

from __future__ import annotations

import numpy as np

from robotics.driving.pdm import Agents, Ego, Road

SIZE = (4.0, 2.0)


def straight(speed: float = 10.0, steps: int = 41, y: float = 0.0, yaw: float = 0.0, start: float = 0.0) -> Ego:
    """An ego that drives straight on at constant speed."""
    t = np.arange(steps) * 0.1
    poses = np.stack([start + speed * t * np.cos(yaw), y + speed * t * np.sin(yaw), np.full(steps, yaw)], axis=1)
    return Ego(poses, np.full(steps, speed), SIZE)


def agents(*rows: tuple[Ego, bool] | Ego, steps: int = 60) -> Agents:
    """Agents that drive like the given egos; with True they are static things."""
    pairs = [r if isinstance(r, tuple) else (r, False) for r in rows]
    boxes = np.full((steps, len(pairs), 5), np.nan)
    speed = np.full((steps, len(pairs)), np.nan)
    for n, (e, _) in enumerate(pairs):
        k = min(len(e), steps)
        boxes[:k, n], speed[:k, n] = e.boxes()[:k], e.speed[:k]
    return Agents(boxes, speed, np.array([s for _, s in pairs], dtype=bool))


def lanes(*, opposite: bool = False, end: float = 200.0) -> Road:
    """Two lanes along x, 4 m wide: y in -2..2 and 2..6, the second one the other way if `opposite`."""
    x = np.linspace(-50, end, 26)
    line = lambda y: np.stack([x, np.full(26, y)], axis=1)  # noqa: E731
    second = (line(2.0)[::-1], line(6.0)[::-1]) if opposite else (line(6.0), line(2.0))
    return Road(((line(2.0), line(-2.0)), second))
