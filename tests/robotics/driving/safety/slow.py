"""The hard limits once more, point by point and by other formulas: the independent judge of what the chain lets pass."""

from __future__ import annotations

import itertools
import math
from typing import Any

SPEED, ACCEL_MIN, ACCEL_MAX, CURVATURE, LATERAL, YAW_STEP = 40.0, -9.8, 6.0, 0.2, 0.8 * 9.81, 2.0
TOLERANCE = 1e-6


def broken(points: list[dict[str, Any]], friction: float = 1.0) -> list[str]:
    """Names of the hard limits that a trajectory of 51 points breaks."""
    out: list[str] = []
    if len(points) != 51 or any(not math.isfinite(v) for p in points for v in p.values()):
        return ["form"]

    def need(name: str, ok: bool) -> None:
        if not ok:
            out.append(name)

    top = max(SPEED, points[0]["v"]) + TOLERANCE
    mean: list[float] = []
    for n, p in enumerate(points):
        need("time", abs(p["t"] - 0.1 * n) < 1e-9)
        need("speed", 0 <= p["v"] <= top)
        need("accel", ACCEL_MIN - TOLERANCE <= p["a"] <= ACCEL_MAX + TOLERANCE)
        need("curvature", abs(p["kappa"]) <= CURVATURE + TOLERANCE)
        need("lateral", p["v"] ** 2 * abs(p["kappa"]) <= LATERAL * friction + TOLERANCE)
    for p, q in itertools.pairwise(points):
        mean.append(math.dist((p["x"], p["y"]), (q["x"], q["y"])) / 0.1)
        need("speed of positions", mean[-1] <= top)
        need("accel of speeds", ACCEL_MIN - TOLERANCE <= (q["v"] - p["v"]) / 0.1 <= ACCEL_MAX + TOLERANCE)
        need("yaw step", abs(q["yaw"] - p["yaw"]) <= YAW_STEP)
        need("steer rate", abs(math.atan(2.8 * q["kappa"]) - math.atan(2.8 * p["kappa"])) / 0.1 <= 10 + TOLERANCE)
        if mean[-1] > 1.0:
            way = math.atan2(q["y"] - p["y"], q["x"] - p["x"])
            aside = math.remainder(way - (p["yaw"] + q["yaw"]) / 2, 2 * math.pi)
            need("yaw is the way", abs(aside) < 0.05)
    for v, w in itertools.pairwise(mean):
        need("accel of positions", ACCEL_MIN - TOLERANCE <= (w - v) / 0.1 <= ACCEL_MAX + TOLERANCE)
    for a, b, c in zip(points, points[1:], points[2:], strict=False):
        need("curvature of positions", _menger(a, b, c) <= CURVATURE * 1.03)
    for p, v in zip(points, mean, strict=False):
        need("positions follow speeds", abs(v - p["v"]) <= 1.0)
    return sorted(set(out))


def _menger(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> float:
    """Curvature of the circle through three points; 0 where they are too close to tell."""
    pairs = [((p["x"], p["y"]), (q["x"], q["y"])) for p, q in ((a, b), (b, c), (c, a))]
    sides = [math.dist(*pair) for pair in pairs]
    if min(sides) < 0.2:
        return 0.0
    area = abs((b["x"] - a["x"]) * (c["y"] - a["y"]) - (b["y"] - a["y"]) * (c["x"] - a["x"])) / 2
    return 4 * area / math.prod(sides)
