"""An evaluation as pictures: the error over time for every site, and the best, median and worst plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench.evaluation.measured import Evaluation, answered
from edge.bench.picture import GRID, INK, QUIET
from edge.bench.record import folder
from edge.core.errors import InputError, MissingExtraError
from robotics.driving.baselines import GRID_S
from robotics.driving.gallery import Shown, draw_gallery
from robotics.driving.metrics import interval

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing evaluations") from e

MODELS = ("#1473e6", "#e8710a", "#9334e6", "#d01884", "#12858d")
BASELINES = {
    "stop": "#c9ced6",
    "constant velocity": "#9aa7b8",
    "constant acceleration and turn rate": "#c2a878",
    "ridge": "#4b5563",
}
REFERENCE = "#8fbf9f"
SIDE_BY_SIDE = 2
"""Plans of each site in a row of the gallery."""


def draw(e: Evaluation, result: Mapping[str, Any], out: Path) -> list[Path]:
    """Write errors.png and gallery.png to a folder. Raises InputError for one that cannot be written to."""
    folder(out)
    return [draw_errors(e, result, out / "errors.png"), draw_best_and_worst(e, out / "gallery.png")]


def draw_errors(e: Evaluation, result: Mapping[str, Any], path: Path) -> Path:
    """A panel for every site: mean displacement at every time, with intervals for the models and the best baseline."""
    places = e.sites()
    figure = Figure(figsize=(7.4 * len(places), 6.2), dpi=100, facecolor="#ffffff")
    axes = figure.subplots(1, len(places), squeeze=False)[0]
    for ax, where in zip(axes, places, strict=True):
        _panel(ax, e, where)
    figure.suptitle("Distance from what was driven", x=0.012, ha="left", fontsize=16, fontweight="bold", color=INK)
    env = result["env"]
    below = f"mean over windows of split {result['split']}; bands: 95 % by bootstrap over scenes; {result['dtype']}, {env['cpu']}"
    figure.text(0.012, 0.012, f"{below}, {env['date']}", fontsize=9.5, color=QUIET)
    figure.subplots_adjust(left=0.05, right=0.985, top=0.87, bottom=0.13, wspace=0.13)
    try:
        FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    except OSError as error:
        raise InputError(f"{path}: cannot write the picture ({error.strerror or error}); choose another folder") from error
    return path


def _panel(ax: Axes, e: Evaluation, where: str) -> None:
    rows, best = e.at(where), e.best(where)
    scenes = np.array(e.scenes(rows))
    colours = dict(zip((x.name for x in e.entrants), MODELS, strict=False))
    tallest = 0.0
    for name, metres in e.errors.items():
        if name == "stop":  # far above all others, it would flatten them
            continue
        here = metres[rows]
        ok = answered(here)
        each = [interval(here[ok, k], scenes[ok].tolist(), n=500) for k in range(GRID_S.size)]
        mean = [i.mean for i in each]
        model, is_best = name in colours, name == best
        colour = colours.get(name) or BASELINES.get(name, REFERENCE)
        label = f"{name}: {np.mean(mean):.2f} m" + (" *" if is_best else "")
        dashes: Any = "-" if model or is_best else (0, (4, 2))
        width, above = (2.6, 4) if model else (1.7, 3)
        ax.plot(GRID_S, mean, label=label, color=colour, linewidth=width, linestyle=dashes, zorder=above)
        if model or is_best:
            ax.fill_between(GRID_S, [i.low for i in each], [i.high for i in each], color=colour, alpha=0.12, linewidth=0, zorder=2)
            tallest = max(tallest, each[-1].high)
    ax.set(xlim=(0.5, 5), ylim=(0, 1.15 * tallest))
    ax.set_title(f"{where}, {int(rows.sum())} windows", loc="left", fontsize=12, color=INK)
    ax.set_xlabel("seconds from now", fontsize=10, color=QUIET)
    ax.set_ylabel("metres", fontsize=10, color=QUIET)
    ax.grid(color=GRID, zorder=0)
    ax.tick_params(length=0, labelcolor=INK)
    ax.legend(frameon=False, fontsize=9.5, labelcolor=INK, title="mean over 5 s (* best trivial)", alignment="left")
    for side in ax.spines.values():
        side.set_visible(False)


def draw_best_and_worst(e: Evaluation, path: Path) -> Path:
    """Best, median and worst plans of the first model at every site, beside the best trivial baseline's."""
    name = e.entrants[0].name
    rows: dict[str, list[Shown]] = {"best": [], "median": [], "worst": []}
    for where in e.sites():
        best = e.best(where)
        for row, picks in zip(rows.values(), _picks(e, name, where), strict=True):
            for i in picks:
                w, plan = e.windows[i], e.outcomes[name][i].plan
                assert plan is not None
                plans = {name: plan.waypoints, "best trivial baseline": e.paths[best][i][1::2]}
                off = f"{e.errors[name][i].mean():.2f} m off, {best} {e.errors[best][i].mean():.2f} m"
                row.append(Shown(w, plans, f"{where}\n{w.name}\n{off}"))
    return draw_gallery(rows, path, f"{name}: plans by their displacement over 5 s")


def _picks(e: Evaluation, name: str, where: str) -> list[Sequence[int]]:
    """Windows of the least, the middle and the greatest displacement; of each vehicle only one, so that they differ."""
    found = np.flatnonzero(e.at(where) & answered(e.errors[name]))
    order = found[np.argsort(e.errors[name][found].mean(axis=1), kind="stable")]
    middle = order[np.argsort(np.abs(np.arange(len(order)) - (len(order) - 1) / 2), kind="stable")]
    return [_different(e, ranked) for ranked in (order, middle, order[::-1])]


def _different(e: Evaluation, ranked: np.ndarray) -> list[int]:
    out: dict[tuple[str, int], int] = {}
    for i in ranked.tolist():
        out.setdefault((e.windows[i].scene.name, e.windows[i].track_id), i)
        if len(out) == SIDE_BY_SIDE:
            break
    return list(out.values())
