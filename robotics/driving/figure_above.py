"""A planning problem seen from above: road, vehicles, the last seconds, the plans, and what was really driven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike

from robotics.driving.figure_drawn import DOTTED, DRIVEN, HISTORY, INK, QUIET, Drawn, Floats
from robotics.driving.render import road_polygons
from robotics.driving.scene import Window, to_ego

EGO_M = (4.6, 1.9)
"""Length and width of an ego whose size nobody told."""
EGO, OTHER, OTHER_EDGE = "#1f2937", "#f4f6f8", "#3c4043"
_BEHIND_M = 18.0


def _up(xy: ArrayLike) -> Floats:
    """Ego frame (x forward, y left) to paper (right, up)."""
    p = np.asarray(xy, dtype=np.float64)
    return np.stack([-p[..., 1], p[..., 0]], axis=-1)


def _outline(length: float, width: float, pose: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Floats:
    """A vehicle from above, with a slightly pointed front: [6, 2] m, ego frame."""
    a, b = length / 2, width / 2
    p = np.array([(-a, b), (-a, -b), (a - 0.5, -b), (a, -0.45 * b), (a, 0.45 * b), (a - 0.5, b)])
    c, s = np.cos(pose[2]), np.sin(pose[2])
    return p @ np.array([(c, s), (-s, c)]) + pose[:2]


def draw_from_above(ax: Axes, drawn: Drawn) -> None:
    box = ax.get_position()
    figure: Any = ax.figure
    aspect = box.width * figure.get_figwidth() / (box.height * figure.get_figheight())
    reached = np.concatenate([np.zeros((1, 2)), drawn.driven, *(c[1] for c in drawn.curves.values())])
    top = float(np.clip(reached[:, 0].max() + 10, 34, 190))
    bottom = -_BEHIND_M - 0.08 * top
    half = max((top - bottom) * aspect / 2, 12.0)
    middle = float(np.clip(-(reached[:, 1].max() + reached[:, 1].min()) / 2, -0.6 * half, 0.6 * half))
    reach = float(np.hypot(max(top, -bottom), half + abs(middle)))

    ego = EGO_M
    if drawn.window is not None:
        _surroundings(ax, drawn.window, reach, lambda c: bottom - 8 < c[0] < top + 8 and abs(-c[1] - middle) < half + 8)
        track = drawn.window.scene.tracks[drawn.window.track_id]
        ego = track.length_m, track.width_m
    history, driven = _up(drawn.history), _up(drawn.driven)
    ax.plot(*history.T, color=HISTORY, linewidth=2.2, linestyle=DOTTED, zorder=4)
    ax.plot(*driven.T, color=DRIVEN, linewidth=3.2, alpha=0.9, zorder=4, solid_capstyle="round")
    ax.plot(*driven[10::10].T, "s", color=DRIVEN, markersize=4.5, markeredgecolor="white", markeredgewidth=0.8, zorder=5)
    for _, colour, (points, fine) in drawn.back_to_front():
        ax.plot(*_up(fine).T, color=colour, linewidth=2.2, zorder=6, solid_capstyle="round")
        ax.plot(*_up(points).T, "o", color=colour, markersize=6, markeredgecolor="white", markeredgewidth=1.0, zorder=7)
    _vehicle(ax, *ego, (0.0, 0.0, 0.0), EGO, "white", None)

    ax.set(xlim=(middle - half, middle + half), ylim=(bottom, top), facecolor="#eef1ec", xticks=[])
    ax.set_aspect("equal", adjustable="box", anchor="N")
    ax.yaxis.tick_right()
    ax.tick_params(axis="y", direction="in", pad=-22, colors=QUIET, labelsize=8, length=0)
    ticks = [t for t in _ticks(top) if t < top - 2]
    ax.set_yticks(ticks, [f"{t} m" if t else "" for t in ticks])
    for side in ax.spines.values():
        side.set_color("#dadce0")
    _legend(ax, drawn)


def _surroundings(ax: Axes, window: Window, reach_m: float, inside: Callable[[Floats], bool]) -> None:
    """The road and the other vehicles, those whose centre [2] m is `inside`."""
    scene, step = window.scene, window.step
    x, y, yaw, _ = scene.tracks[window.track_id].state(step)
    road = road_polygons(scene, (x, y, yaw), reach_m)
    if road:
        # The road in paper tones, not in those of the camera: paths and vehicles have to stand out.
        surface = [c == road[0][1] for _, c in road]
        shapes = [_up(p) for p, _ in road]
        lines = ["#e0ac2b" if c[2] < 0.6 * c[0] else "#ffffff" for _, c in road]
        colours = ["#cfd4da" if s else line for s, line in zip(surface, lines, strict=True)]
        ax.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors=colours, linewidths=0.4, zorder=1))
    for other in scene.tracks.values():
        if other.track_id == window.track_id or not other.covers(step, step + 1):
            continue
        ox, oy, oyaw, ospeed = other.state(step)
        centre = to_ego(np.array([ox, oy]), (x, y, yaw))
        if not inside(centre):
            continue
        _vehicle(ax, other.length_m, other.width_m, (float(centre[0]), float(centre[1]), oyaw - yaw), OTHER, OTHER_EDGE, ospeed)


def _ticks(top: float) -> Sequence[int]:
    return range(0, int(top), 10 if top < 60 else 20 if top < 120 else 40)


def _vehicle(
    ax: Axes, length: float, width: float, pose: tuple[float, float, float], face: str, edge: str, speed: float | None
) -> None:
    ax.add_patch(Polygon(_up(_outline(length, width, pose)), closed=True, facecolor=face, edgecolor=edge, linewidth=0.9, zorder=3))
    c, s = np.cos(pose[2]), np.sin(pose[2])
    screen = np.array([(length * 0.12, -0.4 * width), (length * 0.12, 0.4 * width), (length * 0.28, 0.36 * width)])
    screen = np.concatenate([screen, [(length * 0.28, -0.36 * width)]]) @ np.array([(c, s), (-s, c)]) + pose[:2]
    ax.add_patch(Polygon(_up(screen), closed=True, facecolor="#aab4c0", linewidth=0, zorder=3.1))
    if speed is not None and speed > 0.5:  # where it will be in a second
        a = np.array(pose[:2]) + length / 2 * np.array([c, s])
        ax.plot(*_up(np.stack([a, a + speed * np.array([c, s])])).T, color=OTHER_EDGE, linewidth=0.8, alpha=0.65, zorder=2.9)


def _legend(ax: Axes, drawn: Drawn) -> None:
    lines: list[Any] = []
    for name, colour, (_, fine) in reversed(drawn.back_to_front()):
        label = name
        if drawn.window is not None:
            error = float(np.linalg.norm(fine[5::5] - drawn.driven[5::5], axis=1).mean())
            label = f"{name}: {error:.2f} m off (mean)"
        lines.append(Line2D([], [], color=colour, linewidth=2.2, marker="o", markeredgecolor="white", label=label))
    if drawn.window is not None:
        lines.append(Line2D([], [], color=DRIVEN, linewidth=3.2, marker="s", markeredgecolor="white", label="really driven, 5 s"))
    lines.append(Line2D([], [], color=HISTORY, linewidth=2.2, linestyle=DOTTED, label="last 2 s"))
    above: Any = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 2, "frameon": False}
    ax.legend(handles=lines, fontsize=9, columnspacing=1.4, handletextpad=0.6, borderpad=0.5, labelcolor=INK, **above)
