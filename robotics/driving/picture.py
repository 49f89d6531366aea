"""One planning problem and its answers as a picture: camera views with the plan on the road, the speeds, all of it from above.

Drawn with matplotlib's Agg canvas alone: no window, no global state, the same bytes for the same input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.core.errors import InputError, MissingExtraError

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing plans") from e

from robotics.driving.figure_above import draw_from_above
from robotics.driving.figure_camera import draw_camera
from robotics.driving.figure_drawn import DOTTED, DRIVEN, DT_S, HISTORY, INK, PAPER, QUIET, Curve, Drawn, Floats, speeds
from robotics.driving.metrics import dense
from robotics.driving.prompt import EgoHistory
from robotics.driving.scene import CAMERAS, Window
from robotics.driving.views import views

VIEW_PX = 448
"""Camera pictures of a scene are painted anew at this size: what the model saw is too small to look at."""

Plans = Mapping[str, ArrayLike] | ArrayLike
"""[5, 2] m at 1..5 s in the ego frame, or several by name: the first is drawn on top and in the camera views."""


def draw_plan(window: Window, plans: Plans, path: str | Path, *, images: NDArray[np.uint8] | None = None, title: str = "") -> Path:
    """Write a PNG: three camera views, the speeds and a bird's-eye view of `window` with `plans` and what was really driven.

    images: uint8 [3, H, W, 3] in the order of CAMERAS, those of the scene (recorded or painted) when absent. Returns the path.
    Raises InputError for a plan of another shape or with NaN, or a path that cannot be written.
    """
    v0 = (window.history[-1] - window.history[-6]) / (5 * window.scene.dt_s)
    if images is None:
        images = views(window, (VIEW_PX, VIEW_PX))
    times, past = speeds(window.history)
    drawn = Drawn(_curves(plans, v0), window.history.astype(np.float64), (times - len(past) * DT_S, past), window)
    v = float(np.linalg.norm(window.history[-1] - window.history[-3])) / (2 * window.scene.dt_s)
    below = f"{window.scene.name} · vehicle {window.track_id} · step {window.step} · {v:.1f} m/s now"
    return _write(drawn, images, title or window.scene.name, below, Path(path))


def draw_own(
    history: EgoHistory, images: Sequence[NDArray[np.uint8]], plans: Plans, path: str | Path, *, title: str = "own images"
) -> Path:
    """Write the same PNG for camera images of one's own, of which neither the scene around nor the future is known.

    images: three uint8 [H, W, 3] in the order of CAMERAS, of any size. Where the plan lies in them is only as right as the
    cameras are like those of the renderer (`RIG`). Returns the path; raises InputError as `draw_plan` does.
    """
    past = np.array([p.v_mps for p in history.points])
    times = (np.arange(len(past)) - len(past) + 1) * history.dt_s
    drawn = Drawn(_curves(plans, history.velocity_mps()), history.xy(), (times, past))
    return _write(
        drawn, images, title, f"{past[-1]:.1f} m/s now · no scene: nothing is known of the road and the others", Path(path)
    )


def _curves(plans: Plans, v0: Floats) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for name, points in (dict(plans) if isinstance(plans, Mapping) else {"plan": plans}).items():
        p = np.asarray(points, dtype=np.float64)
        if p.shape != (5, 2) or not np.isfinite(p).all():
            raise InputError(f"plan {name!r}: needs finite waypoints [5, 2] at 1..5 s, got {list(p.shape)}")
        curves[name] = p, dense(p, v0, np.arange(0, 51) * DT_S)
    return curves


def _write(drawn: Drawn, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], title: str, below: str, path: Path) -> Path:
    figure = Figure(figsize=(15.6, 7.6), dpi=110, facecolor=PAPER)
    grid = figure.add_gridspec(
        2, 4, width_ratios=(1, 1, 1, 1.42), height_ratios=(1.0, 0.62),
        left=0.045, right=0.985, top=0.875, bottom=0.085, wspace=0.03, hspace=0.22,
    )  # fmt: skip
    figure.text(0.045, 0.945, title, fontsize=16, fontweight="bold", color=INK)
    figure.text(0.045, 0.906, below, fontsize=10.5, color=QUIET)
    for n, camera in enumerate(CAMERAS):
        draw_camera(figure.add_subplot(grid[0, n]), images[n], camera, next(iter(drawn.curves.values()), None))
    _speeds(figure.add_subplot(grid[1, :3]), drawn)
    draw_from_above(figure.add_subplot(grid[:, 3]), drawn)
    try:
        FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    except OSError as e:
        raise InputError(f"{path}: cannot write the picture ({e.strerror or e}); choose another folder") from e
    return path


def _speeds(ax: Axes, drawn: Drawn) -> None:
    ax.axvline(0, color="#dadce0", linewidth=1.2, zorder=1)
    ax.plot(*drawn.past, color=HISTORY, linewidth=2.0, linestyle=DOTTED)
    highest = drawn.past[1].max()
    lines = [(colour, fine, 2.2, 1.0) for _, colour, (_, fine) in drawn.back_to_front()]
    if drawn.window is not None:
        lines.insert(0, (DRIVEN, drawn.driven, 2.8, 0.9))
    for colour, path, width, alpha in lines:
        times, mps = speeds(path)
        highest = max(highest, mps.max())
        ax.plot(times, mps, color=colour, linewidth=width, alpha=alpha)
    ax.set(xlim=(-2, 5), ylim=(0, max(1.18 * highest, 3)), facecolor=PAPER)
    ax.set_xlabel("seconds from now", color=QUIET, fontsize=9)
    ax.set_title("speed, m/s", loc="left", fontsize=10, color=INK)
    ax.grid(axis="y", color="#eceff1", linewidth=1)
    ax.set_axisbelow(True)
    ax.tick_params(colors=QUIET, labelsize=9, length=0)
    for name, side in ax.spines.items():
        side.set_visible(name == "bottom")
        side.set_color("#dadce0")
