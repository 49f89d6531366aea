"""The closed loop as a picture: driving score against planning latency, with the strategies where they were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.bench.picture import GRID, INK, QUIET
from edge.core.errors import InputError, MissingExtraError

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing benches") from e

COLOURS = {"oracle": "#9aa7b8", "nano planner": "#1f6f6b", "constant velocity": "#d9a441", "stop": "#b0857f"}
MARKS = {"ar": "s", "self-spec": "D", "fused": "o"}
TITLES = {
    "recorded": "log replay of recorded traffic",
    "sim": "log replay of simulated traffic",
    "highway-env": "highway-env, traffic reacts",
}


def draw(result: Mapping[str, Any], path: Path) -> Path:
    """Write a PNG. result: of `edge.bench.closed_loop.bench`. Raises InputError for a path that cannot be written."""
    sources = list(dict.fromkeys(r["source"] for r in result["rows"]))
    figure = Figure(figsize=(7.5 * len(sources), 9.0), dpi=100, facecolor="#ffffff")
    axes = figure.subplots(2, len(sources), squeeze=False, height_ratios=(1.5, 1.0), sharex="col")
    for column, source in enumerate(sources):
        rows = [r for r in result["rows"] if r["source"] == source]
        _panel(axes[0][column], rows, "driving", 1.0)
        _panel(axes[1][column], rows, "collision", 100.0)
        r = rows[0]
        where = f"{r['episodes']} episodes" + (f" of {r['recordings']} recordings" if r["recordings"] < r["episodes"] else "")
        axes[0][column].set_title(f"{TITLES[source]}: {where}", loc="left", fontsize=11.5, color=INK, pad=10)
        axes[1][column].set_xlabel("planning latency, ms", fontsize=10, color=QUIET)
    axes[0][0].set_ylabel("driving score (PDMS)", fontsize=10, color=QUIET)
    axes[1][0].set_ylabel("at-fault collision, % of episodes", fontsize=10, color=QUIET)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower left",
        ncols=len(labels),
        frameon=False,
        fontsize=9.5,
        bbox_to_anchor=(0.005, 0.03),
        labelcolor=INK,
    )
    figure.suptitle("Driving score against planning latency", x=0.012, ha="left", fontsize=16, fontweight="bold", color=INK)
    env = result["env"]
    threads = f"{env['threads']} thread{'' if env['threads'] == 1 else 's'}"
    below = f"95 % intervals by bootstrap over recordings; latencies of strategies: p50 on {env['cpu']}, {threads}, {env['date']}"
    figure.text(0.012, 0.012, below, fontsize=9, color=QUIET)
    figure.subplots_adjust(left=0.075 if len(sources) == 1 else 0.045, right=0.985, top=0.89, bottom=0.145, wspace=0.1, hspace=0.08)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    except OSError as e:
        raise InputError(f"{path}: cannot write the picture ({e.strerror or e}); choose another folder") from e
    return path


def _panel(ax: Axes, rows: Sequence[Mapping[str, Any]], field: str, scale: float) -> None:
    for name, colour in COLOURS.items():
        line = sorted((r for r in rows if r["name"] == name), key=lambda r: r["latency_ms"])
        x, y = [r["latency_ms"] for r in line], [r[field]["mean"] * scale for r in line]
        low, high = ([r[field][end] * scale for r in line] for end in ("low", "high"))
        strong = name == "nano planner"
        if len(line) == 1:
            ax.axhline(y[0], color=colour, linewidth=1.6, linestyle=(0, (4, 3)), label=name, zorder=2)
            continue
        ax.plot(x, y, color=colour, linewidth=2.6 if strong else 1.6, label=name, zorder=3 if strong else 2)
        ax.fill_between(x, low, high, color=colour, alpha=0.16 if strong else 0.08, linewidth=0, zorder=1)
    for r in rows:
        if "strategy" in r:
            mark = {"marker": MARKS[r["strategy"]], "color": COLOURS[r["name"]], "markeredgecolor": "white", "markersize": 10}
            label = f"{r['strategy']}: {r['latency_ms']:.0f} ms"
            ax.plot([r["latency_ms"]], [r[field]["mean"] * scale], linestyle="none", label=label, zorder=5, **mark)
    ax.set_ylim(0, 1.02 if field == "driving" else None)
    ax.set_xlim(left=0)
    ax.grid(color=GRID, zorder=0)
    ax.tick_params(length=0, labelcolor=INK)
    for side in ax.spines.values():
        side.set_visible(False)
