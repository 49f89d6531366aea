"""Pictures of caching: how alike a unit's outputs are, when it is computed, and what success costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.errors import MissingExtraError
from robotics.policy.cache.bubbling import KINDS
from robotics.policy.cache.schedule import Schedule
from robotics.policy.cache.statistics import Statistics

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing benches") from e

MARKERS = "osD^vP*X"
NAMES = {"self": "self-attention", "cross": "cross-attention", "feed": "feed-forward"}


def unit_name(u: int) -> str:
    return f"{u // len(KINDS)} {NAMES[KINDS[u % len(KINDS)]]}"


def similarity(statistics: Statistics, path: Path) -> Path:
    """A heat map for each unit, layers from top to bottom: mean cosine of its outputs at two steps."""
    mean = statistics.similarity.mean(axis=0)
    layers = len(mean) // len(KINDS)
    figure = _figure(3.2 * len(KINDS) + 1, 3.1 * layers)
    figure.set_layout_engine("constrained")
    low = float(np.quantile(mean, 0.02))
    axes = figure.subplots(layers, len(KINDS), squeeze=False)
    for u, (ax, s) in enumerate(zip(axes.flat, mean, strict=True)):
        ax.imshow(s, vmin=low, vmax=1, cmap="magma", interpolation="nearest")
        ax.set_title(unit_name(u), fontsize=9)
        ax.tick_params(labelsize=7)
    for ax in axes[-1]:
        ax.set_xlabel("denoising step", fontsize=8)
    figure.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.7, label=f"cosine, mean of {len(statistics.similarity)} queries")
    return _saved(figure, path)


def chart(schedules: Sequence[Schedule], path: Path) -> Path:
    """When each unit is computed, a panel for each schedule."""
    units = len(schedules[0].refreshes)
    figure = _figure(10, 0.22 * units * len(schedules) + 0.8 * len(schedules))
    axes = figure.subplots(len(schedules), 1, squeeze=False)[:, 0]
    for ax, s in zip(axes, schedules, strict=True):
        for u, at in enumerate(s.refreshes):
            ax.scatter(at, [u] * len(at), marker="|", s=60, color=f"C{u % len(KINDS)}", linewidths=1.6)
        ax.set_yticks(range(units), [unit_name(u) for u in range(units)], fontsize=7)
        ax.set_ylim(units - 0.5, -0.5)
        ax.set_xlim(-1, s.steps)
        ax.grid(alpha=0.25)
        of = f"{s.unit_evaluations} of {units * s.steps} evaluations"
        ax.set_title(f"{s.method}, budget {s.settings.get('budget')}: {of}", fontsize=9)
    axes[-1].set_xlabel(f"denoising step of {schedules[0].sampler}")
    figure.tight_layout()
    return _saved(figure, path)


def success(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Success against unit evaluations, and against milliseconds of a chunk, with intervals; a colour for each method."""
    figure = _figure(12, 5)
    panels = figure.subplots(1, 2, sharey=True)
    methods = list(dict.fromkeys(_method(r) for r in rows))
    for ax, key, label in zip(panels, ("units", "ms"), ("unit evaluations a chunk", "milliseconds a chunk, one core"), strict=True):
        for n, method in enumerate(methods):
            chosen = sorted((r for r in rows if _method(r) == method), key=lambda r: r[key])
            x = [r[key] for r in chosen]
            y = np.array([r["success"] for r in chosen])
            error = np.abs(np.array([[r["success_low"], r["success_high"]] for r in chosen]).T - y)
            style = {"color": f"C{n % 10}", "marker": MARKERS[n % len(MARKERS)]}
            ax.errorbar(x, y, yerr=error, label=method, capsize=2, linewidth=1, markersize=5, elinewidth=0.7, **style)
        ax.set_xscale("log")
        ax.set_xlabel(label)
        ax.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("success [95 % by Wilson]")
    panels[1].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    return _saved(figure, path)


def _method(row: Mapping[str, Any]) -> str:
    sampler, cache = row["sampler"], row["cache"].partition(":")[0]
    return f"{sampler.partition(':')[0]}, no cache" if cache == "none" else f"{sampler}, {cache}"


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    return figure


def _saved(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
