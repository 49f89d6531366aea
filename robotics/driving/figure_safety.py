"""A plan and what the checks made of it: from above, and every check as a share of its limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robotics.driving.service.response import CheckResult, PlanResponse

COLOURS = {"OK": "#2a8f4d", "DEGRADED": "#c98a00", "FALLBACK": "#c2521f", "REJECTED": "#b3261e"}


def draw(response: PlanResponse, out: Path, title: str = "") -> None:
    """Write a PNG: left the model's waypoints and the trajectory that may be driven, its points coloured by speed; right the checks
    of all candidates that have a limit."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, bars) = plt.subplots(1, 2, figsize=(11, 6), width_ratios=(1, 1.6), layout="constrained")
    _above(above, response, figure)
    _checks(bars, [c for c in response.checks if _share(c) is not None])
    reasons = ", ".join(response.reason_codes)
    said = f"{response.status} by {response.source}" + (f" ({reasons})" if reasons else "")
    figure.suptitle(f"{title}: {said}" if title else said, color=COLOURS[response.status], fontweight="bold")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _above(axes: Any, response: PlanResponse, figure: Any) -> None:
    points = np.array([(p.x, p.y, p.v) for p in response.trajectory.points])
    shown = axes.scatter(-points[:, 1], points[:, 0], c=points[:, 2], s=14, cmap="viridis", zorder=3)
    axes.plot(-points[:, 1], points[:, 0], color="#9aa4b2", linewidth=1, zorder=2, label="may be driven")
    if response.raw_waypoints:
        raw = np.array(response.raw_waypoints)
        axes.plot(-raw[:, 1], raw[:, 0], "x", color="#b3261e", markersize=8, zorder=4, label="model's waypoints")
    figure.colorbar(shown, ax=axes, label="speed, m/s", shrink=0.7)
    every = np.concatenate([points[:, :2], np.array(response.raw_waypoints).reshape(-1, 2)])
    middle, half = -every[:, 1].mean(), max(np.ptp(every[:, 1]) / 2, np.ptp(every[:, 0]) / 4, 4.0) + 1
    axes.set_xlim(middle - half, middle + half)
    axes.set_aspect("equal")
    axes.set_xlabel("right, m")
    axes.set_ylabel("forward, m")
    axes.legend(loc="best", fontsize=8)


def _checks(axes: Any, checks: list[CheckResult]) -> None:
    """Shares of the limit, cut off at twice the limit."""
    shares = [min(_share(c) or 0.0, 2.0) for c in checks]
    colours = ["#b3261e" if not c.ok and c.critical else "#c98a00" if not c.ok else "#8fb8a0" for c in checks]
    rows = np.arange(len(checks))[::-1]
    axes.barh(rows, shares, color=colours, height=0.7)
    axes.axvline(1.0, color="black", linewidth=1)
    for row, c in zip(rows, checks, strict=True):
        axes.text(0.01, row, f"{c.value:.2f} / {c.limit:.2f}", va="center", fontsize=6.5)
    axes.set_yticks(rows, [f"{c.candidate}  {c.name}" for c in checks], fontsize=7)
    axes.set_xlim(0, 2.05)
    axes.set_xlabel("share of the limit (red: hard limit broken, amber: uncomfortable)")


def _share(check: CheckResult) -> float | None:
    """Of checks whose limit bounds a magnitude."""
    value, limit = check.value, check.limit
    if value is None or not limit or check.name in ("time_to_collision", "forward_length"):
        return None
    return max(value / limit, 0.0)
