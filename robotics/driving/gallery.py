"""Many plans on one sheet: what the middle camera sees and the scene from above, with the plans and what was really driven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError, MissingExtraError

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing plans") from e

from robotics.driving.figure_above import draw_from_above
from robotics.driving.figure_camera import draw_camera
from robotics.driving.figure_drawn import DOTTED, DRIVEN, DT_S, HISTORY, INK, PAPER, QUIET, Drawn, speeds
from robotics.driving.metrics import dense
from robotics.driving.prompt import history_of
from robotics.driving.scene import CAMERAS, Window
from robotics.driving.views import views

CAMERA_PX = 320


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the sheet. plans: waypoints [5, 2] m by name, the first on top and in the camera view."""

    window: Window
    plans: Mapping[str, NDArray[np.float64]]
    title: str


def draw_gallery(rows: Mapping[str, Sequence[Shown]], path: str | Path, title: str) -> Path:
    """Write a PNG, a row of pictures for every name. Raises InputError for rows without any, or a path that cannot be written."""
    across = max((len(r) for r in rows.values()), default=0)
    if not across:
        raise InputError("a gallery needs at least one plan to show")
    high = 4.3 * len(rows) + 0.9
    figure = Figure(figsize=(6.1 * across, high), dpi=80, facecolor=PAPER)
    figure.text(0.012, 1 - 0.5 / high, title, fontsize=17, fontweight="bold", color=INK)
    outer = figure.add_gridspec(
        len(rows), across, left=0.012, right=0.992, top=1 - 0.85 / high, bottom=0.12 / high, wspace=0.06, hspace=0.06
    )
    lines: dict[str, Line2D] = {}
    for y, (name, shown) in enumerate(rows.items()):
        for x, s in enumerate(shown):
            pair = outer[y, x].subgridspec(1, 2, width_ratios=(1, 1.05), wspace=0.04)
            lines |= _picture(s, name, figure.add_subplot(pair[0]), figure.add_subplot(pair[1]))
    where: Any = {"loc": "upper right", "bbox_to_anchor": (0.992, 1 - 0.2 / high), "ncols": len(lines), "frameon": False}
    figure.legend(lines.values(), lines.keys(), fontsize=11, labelcolor=INK, **where)
    try:
        FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    except OSError as e:
        raise InputError(f"{path}: cannot write the picture ({e.strerror or e}); choose another folder") from e
    return Path(path)


def _picture(s: Shown, row: str, camera: Axes, above: Axes) -> dict[str, Line2D]:
    """One pair of pictures; returns what their colours mean."""
    drawn = _drawn(s)
    images = views(s.window, (CAMERA_PX, CAMERA_PX))
    draw_camera(camera, images[CAMERAS.index("front")], "front", next(iter(drawn.curves.values()), None))
    camera.text(0.0, -0.03, row, transform=camera.transAxes, va="top", fontsize=13, fontweight="bold", color=INK)
    camera.text(0.0, -0.13, s.title, transform=camera.transAxes, va="top", fontsize=9.5, color=QUIET, linespacing=1.5)
    draw_from_above(above, drawn)
    if (legend := above.get_legend()) is not None:
        legend.remove()  # one for the whole sheet
    plans = {
        n: Line2D([], [], color=c, linewidth=2.2, marker="o", markeredgecolor="white") for n, c, _ in drawn.back_to_front()[::-1]
    }
    driven = Line2D([], [], color=DRIVEN, linewidth=3.2, marker="s", markeredgecolor="white")
    return plans | {"really driven, 5 s": driven, "last 2 s": Line2D([], [], color=HISTORY, linewidth=2.2, linestyle=DOTTED)}


def _drawn(s: Shown) -> Drawn:
    times, past = speeds(s.window.history)
    v0 = history_of(s.window).velocity_mps()
    curves = {n: (np.asarray(p, dtype=np.float64), dense(p, v0, np.arange(51) * DT_S)) for n, p in s.plans.items()}
    return Drawn(curves, s.window.history.astype(np.float64), (times - len(past) * DT_S, past), s.window)
