"""One planning problem and its answers as a picture: camera views with the plan on the road, the scene from above, the speeds.

Drawn with matplotlib's Agg canvas alone: no window, no global state, the same bytes for the same input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.core.errors import InputError, MissingExtraError
from robotics.driving.metrics import dense
from robotics.driving.render import RIG, project, render, road_polygons
from robotics.driving.scene import CAMERAS, Window, to_ego

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing plans") from e

F64 = NDArray[np.float64]

VIEW_PX = 448
"""Camera pictures are painted anew at this size: what the model saw is too small to look at."""
PLAN_COLOURS = ("#1473e6", "#e8710a", "#9334e6", "#d01884", "#12858d")
DRIVEN, HISTORY, INK, QUIET, PAPER = "#188038", "#5f6368", "#202124", "#80868b", "#ffffff"
EGO, OTHER, OTHER_EDGE = "#1f2937", "#f4f6f8", "#3c4043"
_TIMES_S = np.arange(0, 51) * 0.1
_HALF_WIDTH_M = 0.55
_BEHIND_M = 18.0


def draw_plan(
    window: Window,
    plans: Mapping[str, ArrayLike] | ArrayLike,
    path: str | Path,
    *,
    images: NDArray[np.uint8] | None = None,
    title: str = "",
) -> Path:
    """Write a PNG: three camera views, the speeds and a bird's-eye view of `window` with `plans` and what was really driven.

    plans: [5, 2] m at 1..5 s in the ego frame, or several by name (the first is drawn on top and in the camera views);
    images: uint8 [3, H, W, 3] in the order of CAMERAS, painted from the scene when absent. Returns the path. Raises InputError
    for a plan of another shape or with NaN, or a path that cannot be written.
    """
    named = dict(plans) if isinstance(plans, Mapping) else {"plan": plans}
    v0 = (window.history[-1] - window.history[-6]) / (5 * window.scene.dt_s)
    curves: dict[str, tuple[F64, F64]] = {}  # waypoints [5, 2], the path through them [51, 2]
    for name, points in named.items():
        p = np.asarray(points, dtype=np.float64)
        if p.shape != (5, 2) or not np.isfinite(p).all():
            raise InputError(f"plan {name!r}: needs finite waypoints [5, 2] at 1..5 s, got {list(p.shape)}")
        curves[name] = p, dense(p, v0, _TIMES_S)
    if images is None:
        images = render(window.scene, window.step, window.track_id, size=(VIEW_PX, VIEW_PX))

    figure = Figure(figsize=(15.6, 7.6), dpi=110, facecolor=PAPER)
    grid = figure.add_gridspec(
        2, 4, width_ratios=(1, 1, 1, 1.42), height_ratios=(1.0, 0.62),
        left=0.045, right=0.985, top=0.875, bottom=0.085, wspace=0.03, hspace=0.22,
    )  # fmt: skip
    _heading(figure, window, title)
    for n, camera in enumerate(CAMERAS):
        _camera(figure.add_subplot(grid[0, n]), images[n], camera, curves)
    _speeds(figure.add_subplot(grid[1, :3]), window, curves)
    _from_above(figure.add_subplot(grid[:, 3]), window, curves)
    try:
        FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    except OSError as e:
        raise InputError(f"{path}: cannot write the picture ({e.strerror or e}); choose another folder") from e
    return Path(path)


def _heading(figure: Figure, window: Window, title: str) -> None:
    v = float(np.linalg.norm(window.history[-1] - window.history[-3])) / (2 * window.scene.dt_s)
    figure.text(0.045, 0.945, title or window.scene.name, fontsize=16, fontweight="bold", color=INK)
    figure.text(
        0.045, 0.906, f"{window.scene.name} · vehicle {window.track_id} · step {window.step} · {v:.1f} m/s now",
        fontsize=10.5, color=QUIET,
    )  # fmt: skip


# --- camera views -----------------------------------------------------------------------------------------------------------


def _camera(ax: Axes, image: NDArray[np.uint8], camera: str, curves: Mapping[str, tuple[F64, F64]]) -> None:
    h, w = image.shape[:2]
    ax.imshow(image, interpolation="lanczos" if h < 2 * VIEW_PX // 3 else "nearest", extent=(-0.5, w - 0.5, h - 0.5, -0.5))
    if curves:
        name = next(iter(curves))
        _ribbon(ax, curves[name], camera, (h, w))
    ax.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5), xticks=[], yticks=[])
    ax.set_anchor("N")
    for side in ax.spines.values():
        side.set_visible(False)
    ax.text(
        0.03, 0.965, camera.replace("_", " "), transform=ax.transAxes, va="top", fontsize=10, color="white", fontweight="bold",
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "#00000070", "edgecolor": "none"},
    )  # fmt: skip


def _ribbon(ax: Axes, curve: tuple[F64, F64], camera: str, size: tuple[int, int]) -> None:
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


def _on_ground(xy: F64, camera: str, size: tuple[int, int]) -> tuple[F64, NDArray[np.bool_]]:
    """Pixels of ground points, and which of them a camera can show (a little in front of it, not far outside the picture)."""
    uv, ahead = project(np.concatenate([xy, np.zeros((len(xy), 1))], axis=1), camera, size, RIG)
    inside = np.zeros(len(xy), dtype=bool)
    inside[ahead] = (np.abs(uv[ahead] - np.array(size[::-1]) / 2) < 1.5 * max(size)).all(axis=1)
    return np.asarray(uv, dtype=np.float64), inside


# --- from above -------------------------------------------------------------------------------------------------------------


def _up(xy: ArrayLike) -> F64:
    """Ego frame (x forward, y left) to paper (right, up)."""
    p = np.asarray(xy, dtype=np.float64)
    return np.stack([-p[..., 1], p[..., 0]], axis=-1)


def _outline(length: float, width: float, pose: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> F64:
    """A vehicle from above, with a slightly pointed front: [6, 2] m, ego frame."""
    a, b = length / 2, width / 2
    p = np.array([(-a, b), (-a, -b), (a - 0.5, -b), (a, -0.45 * b), (a, 0.45 * b), (a - 0.5, b)])
    c, s = np.cos(pose[2]), np.sin(pose[2])
    return p @ np.array([(c, s), (-s, c)]) + pose[:2]


def _from_above(ax: Axes, window: Window, curves: Mapping[str, tuple[F64, F64]]) -> None:
    scene, step = window.scene, window.step
    x, y, yaw, _ = scene.tracks[window.track_id].state(step)
    box = ax.get_position()
    figure: Any = ax.figure
    aspect = box.width * figure.get_figwidth() / (box.height * figure.get_figheight())
    reached = np.concatenate([window.future, *(c[1] for c in curves.values())])
    top = float(np.clip(reached[:, 0].max() + 10, 34, 190))
    bottom = -_BEHIND_M - 0.08 * top
    half = max((top - bottom) * aspect / 2, 12.0)
    middle = float(np.clip(-(reached[:, 1].max() + reached[:, 1].min()) / 2, -0.6 * half, 0.6 * half))
    reach = float(np.hypot(max(top, -bottom), half + abs(middle)))

    road = road_polygons(scene, (x, y, yaw), reach)
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
        if not (bottom - 8 < centre[0] < top + 8 and abs(-centre[1] - middle) < half + 8):
            continue
        _vehicle(ax, other.length_m, other.width_m, (float(centre[0]), float(centre[1]), oyaw - yaw), OTHER, OTHER_EDGE, ospeed)

    history, driven = _up(window.history), _up(np.concatenate([np.zeros((1, 2)), window.future]))
    ax.plot(*history.T, color=HISTORY, linewidth=2.2, linestyle=(0, (1, 1.2)), zorder=4)
    ax.plot(*driven.T, color=DRIVEN, linewidth=3.2, alpha=0.9, zorder=4, solid_capstyle="round")
    ax.plot(*driven[10::10].T, "s", color=DRIVEN, markersize=4.5, markeredgecolor="white", markeredgewidth=0.8, zorder=5)
    for colour, (points, fine) in reversed(list(zip(_colours(curves), curves.values(), strict=True))):
        ax.plot(*_up(fine).T, color=colour, linewidth=2.2, zorder=6, solid_capstyle="round")
        ax.plot(*_up(points).T, "o", color=colour, markersize=6, markeredgecolor="white", markeredgewidth=1.0, zorder=7)
    ego = scene.tracks[window.track_id]
    _vehicle(ax, ego.length_m, ego.width_m, (0.0, 0.0, 0.0), EGO, "white", None)

    ax.set(xlim=(middle - half, middle + half), ylim=(bottom, top), facecolor="#eef1ec", xticks=[])
    ax.set_aspect("equal", adjustable="box", anchor="N")
    ax.yaxis.tick_right()
    ax.tick_params(axis="y", direction="in", pad=-22, colors=QUIET, labelsize=8, length=0)
    ticks = [t for t in _ticks(top) if t < top - 2]
    ax.set_yticks(ticks, [f"{t} m" if t else "" for t in ticks])
    for side in ax.spines.values():
        side.set_color("#dadce0")
    _legend(ax, curves, window)


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


def _colours(curves: Mapping[str, Any]) -> list[str]:
    return [PLAN_COLOURS[n % len(PLAN_COLOURS)] for n in range(len(curves))]


def _legend(ax: Axes, curves: Mapping[str, tuple[F64, F64]], window: Window) -> None:
    lines: list[Any] = []
    for colour, (name, (_, fine)) in zip(_colours(curves), curves.items(), strict=True):
        error = float(np.linalg.norm(fine[5::5] - window.future[4::5], axis=1).mean())
        label = f"{name}: {error:.2f} m off (mean)"
        lines.append(Line2D([], [], color=colour, linewidth=2.2, marker="o", markeredgecolor="white", label=label))
    lines.append(Line2D([], [], color=DRIVEN, linewidth=3.2, marker="s", markeredgecolor="white", label="really driven, 5 s"))
    lines.append(Line2D([], [], color=HISTORY, linewidth=2.2, linestyle=(0, (1, 1.2)), label="last 2 s"))
    above: Any = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 2, "frameon": False}
    ax.legend(handles=lines, fontsize=9, columnspacing=1.4, handletextpad=0.6, borderpad=0.5, labelcolor=INK, **above)


# --- speeds -----------------------------------------------------------------------------------------------------------------


def _speeds(ax: Axes, window: Window, curves: Mapping[str, tuple[F64, F64]]) -> None:
    dt = window.scene.dt_s

    def speed(path: ArrayLike) -> F64:
        return np.linalg.norm(np.diff(np.asarray(path, dtype=np.float64), axis=0), axis=1) / dt

    past, driven = speed(window.history), speed(np.concatenate([np.zeros((1, 2)), window.future]))
    middles = (np.arange(len(past)) - len(past) + 0.5) * dt, (np.arange(len(driven)) + 0.5) * dt
    ax.axvline(0, color="#dadce0", linewidth=1.2, zorder=1)
    ax.plot(middles[0], past, color=HISTORY, linewidth=2.0, linestyle=(0, (1, 1.2)))
    ax.plot(middles[1], driven, color=DRIVEN, linewidth=2.8, alpha=0.9)
    highest = max(past.max(), driven.max())
    for colour, (_, fine) in reversed(list(zip(_colours(curves), curves.values(), strict=True))):
        planned = speed(fine)
        highest = max(highest, planned.max())
        ax.plot(middles[1], planned, color=colour, linewidth=2.2)
    ax.set(xlim=(-2, 5), ylim=(0, max(1.18 * highest, 3)), facecolor=PAPER)
    ax.set_xlabel("seconds from now", color=QUIET, fontsize=9)
    ax.set_title("speed, m/s", loc="left", fontsize=10, color=INK)
    ax.grid(axis="y", color="#eceff1", linewidth=1)
    ax.set_axisbelow(True)
    ax.tick_params(colors=QUIET, labelsize=9, length=0)
    for name, side in ax.spines.items():
        side.set_visible(name == "bottom")
        side.set_color("#dadce0")
