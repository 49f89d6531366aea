"""An episode from above, moment by moment: where the ego is, what it follows, and where the driver of the log was then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError, MissingExtraError
from robotics.driving.closed_loop.driven import Driven
from robotics.driving.pdm import agents_of, corners
from robotics.driving.render import road_polygons
from robotics.driving.scene import Track, to_ego

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing episodes") from e

INK, QUIET, GROUND, ROAD, PLAN, GHOST = "#1f2937", "#6b7178", "#eef1ec", "#cfd4da", "#1f6f6b", "#d9822b"
FRAMES = 6
AHEAD_M, BEHIND_M, ASIDE_M = 42.0, 18.0, 17.0

F64 = NDArray[np.float64]


def draw_episodes(rows: Sequence[tuple[str, Driven, Track]], path: Path) -> Path:
    """Write a PNG with a row of moments, evenly spaced, for every (what it is called, what was driven, log) of one setting.

    Each moment is drawn around the ego, with its heading at the handover upwards. Raises InputError for a path that cannot be
    written.
    """
    figure = Figure(figsize=(2.45 * FRAMES, 4.8 * len(rows) + 0.5), dpi=90, facecolor="#ffffff")
    axes = figure.subplots(len(rows), FRAMES, squeeze=False)
    last = max(len(d.states) for _, d, _ in rows) - 1
    for line, (name, driven, log) in zip(axes, rows, strict=True):
        for ax, tick in zip(line, np.linspace(0, last, FRAMES).round().astype(int), strict=True):
            _moment(ax, driven, log, min(int(tick), len(driven.states) - 1))
            over = tick > len(driven.states) - 1
            ax.set_title("over" if over else f"{tick * 0.1:.1f} s", fontsize=9.5, loc="right", color=QUIET, pad=4)
        line[0].text(0.0, 1.065, name, fontsize=11.5, color=INK, fontweight="bold", transform=line[0].transAxes)
    said = "dark: the ego and its way   green: the plan it follows   orange: the driver of the log at the same time"
    figure.text(0.01, 0.1 / figure.get_figheight(), said, fontsize=9.5, color=QUIET)
    high = figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.55 / high, bottom=0.35 / high, wspace=0.05, hspace=0.16)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    except OSError as e:
        raise InputError(f"{path}: cannot write the picture ({e.strerror or e}); choose another folder") from e
    return path


def _moment(ax: Axes, d: Driven, log: Track, tick: int) -> None:
    s = d.states[tick]
    pose = (s.x, s.y, d.states[0].yaw)
    size = (log.length_m, log.width_m)

    def paper(xy: Any) -> F64:
        p = to_ego(xy, pose).astype(np.float64)
        return np.stack([-p[..., 1], p[..., 0]], axis=-1)

    road = road_polygons(d.scene, pose, 60.0)
    colours = [ROAD if c == road[0][1] else "#e0ac2b" if c[2] < 0.6 * c[0] else "#ffffff" for _, c in road]
    shapes = [np.stack([-p[:, 1], p[:, 0]], axis=1) for p, _ in road]
    ax.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors=colours, linewidths=0.3, zorder=1))
    others = agents_of(d.scene, d.track_id, d.start + tick, 1).boxes[0]
    boxes = paper(corners(others))
    ax.add_collection(PolyCollection(list(boxes), facecolors="#f4f6f8", edgecolors="#3c4043", linewidths=0.8, zorder=3))
    x, y, yaw, _ = log.state(d.start + tick)
    ghost = paper(corners([x, y, yaw, *size]))
    ax.add_collection(PolyCollection([ghost], facecolors="none", edgecolors=GHOST, linewidths=1.6, zorder=5))
    ego = paper(corners([s.x, s.y, s.yaw, *size]))
    ax.add_collection(PolyCollection([ego], facecolors=INK, edgecolors="white", linewidths=0.8, zorder=4))
    way = np.array([(p.x, p.y) for p in d.states[: tick + 1]])
    ax.plot(*paper(way).T, color=INK, linewidth=1.2, linestyle=(0, (2, 1.5)), zorder=3.5)
    plan = d.paths[min(tick, len(d.paths) - 1)]
    ax.plot(*paper(plan.points[:-1]).T, color=PLAN, linewidth=2.2, zorder=3.6, solid_capstyle="round")
    ax.set(xlim=(-ASIDE_M, ASIDE_M), ylim=(-BEHIND_M, AHEAD_M), facecolor=GROUND, xticks=[], yticks=[])
    ax.set_aspect("equal")
    for side in ax.spines.values():
        side.set_color("#dadce0")
