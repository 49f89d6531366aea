"""One camera picture with a plan on the road."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from robotics.driving.figure_drawn import PLAN_COLOURS, Curve, Floats
from robotics.driving.render import RIG, project

SHARP_PX = 300
"""Smaller pictures are smoothed when they are enlarged."""
_HALF_WIDTH_M = 0.55


def draw_camera(ax: Axes, image: NDArray[np.uint8], camera: str, curve: Curve | None) -> None:
    h, w = image.shape[:2]
    ax.imshow(image, interpolation="lanczos" if h < SHARP_PX else "nearest", extent=(-0.5, w - 0.5, h - 0.5, -0.5))
    if curve is not None:
        _ribbon(ax, curve, camera, (h, w))
    ax.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5), xticks=[], yticks=[])
    ax.set_anchor("N")
    for side in ax.spines.values():
        side.set_visible(False)
    ax.text(
        0.03, 0.965, camera.replace("_", " "), transform=ax.transAxes, va="top", fontsize=10, color="white", fontweight="bold",
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "#00000070", "edgecolor": "none"},
    )  # fmt: skip


def _ribbon(ax: Axes, curve: Curve, camera: str, size: tuple[int, int]) -> None:
    """The plan as a band on the road, with a dot at each waypoint. Only the part that moves: a point has no direction."""
    points, fine = curve
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(fine, axis=0).T))])
    if along[-1] > 1.0:
        at = np.arange(0.0, along[-1], 0.4)
        line = np.stack([np.interp(at, along, fine[:, 0]), np.interp(at, along, fine[:, 1])], axis=1)
        x, y = np.gradient(line, axis=0).T
        side = np.stack([-y, x], axis=1) * (_HALF_WIDTH_M / np.maximum(np.hypot(x, y), 1e-6))[:, None]
        edges = [_on_ground(line + s * side, camera, size) for s in (1, -1)]
        seen = edges[0][1] & edges[1][1]
        left, right = edges[0][0], edges[1][0]
        for run in np.split(np.arange(len(seen)), np.flatnonzero(np.diff(seen)) + 1):
            if seen[run[0]] and len(run) > 1:
                band = np.concatenate([left[run], right[run][::-1]])
                ax.add_patch(Polygon(band, closed=True, facecolor=PLAN_COLOURS[0], alpha=0.5, linewidth=0))
        for edge in (left, right):
            ax.plot(*np.where(seen[:, None], edge, np.nan).T, color="white", linewidth=0.9, alpha=0.9)
    dots, ahead = _on_ground(points, camera, size)
    ax.plot(*dots[ahead].T, "o", color=PLAN_COLOURS[0], markeredgecolor="white", markersize=4.5, markeredgewidth=0.9)


def _on_ground(xy: Floats, camera: str, size: tuple[int, int]) -> tuple[Floats, NDArray[np.bool_]]:
    """Pixels of ground points, and which of them a camera can show (a little in front of it, not far outside the picture)."""
    uv, ahead = project(np.concatenate([xy, np.zeros((len(xy), 1))], axis=1), camera, size, RIG)
    inside = np.zeros(len(xy), dtype=bool)
    inside[ahead] = (np.abs(uv[ahead] - np.array(size[::-1]) / 2) < 1.5 * max(size)).all(axis=1)
    return np.asarray(uv, dtype=np.float64), inside
