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

NAMES = {"self": "self-attention", "cross": "cross-attention", "feed": "feed-forward"}


def unit_name(u: int) -> str:
    return f"{u // len(KINDS)} {NAMES[KINDS[u % len(KINDS)]]}"


def similarity(statistics: Statistics, path: Path) -> Path:
    """A heat map for each unit, layers from top to bottom: mean cosine of its outputs at two steps."""
    mean = statistics.similarity.mean(axis=0)
    layers = len(mean) // len(KINDS)
    figure = figure_of(3.2 * len(KINDS) + 1, 3.1 * layers)
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
    return saved(figure, path)


def chart(schedules: Sequence[Schedule], path: Path) -> Path:
    """When each unit is computed, a panel for each schedule."""
    units = len(schedules[0].refreshes)
    figure = figure_of(10, 0.22 * units * len(schedules) + 0.8 * len(schedules))
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
    return saved(figure, path)


FAMILIES = {
    "uniform": "C7",
    "unified": "C0",
    "block-wise": "C9",
    "bac": "C3",
    "deepcache delta-dit": "C5",
    "first-block tea": "C4",
    "taylor taylor2 gated-taylor zeus": "C2",
    "ertacache learned": "C1",
    "cachequant8 cachequant4": "C6",
    "tokens": "C8",
}
"""Methods by what they do, and a colour for each kind."""
MARKERS = "os^D"
HOLLOW = "-single"
"""Schedules of one query are drawn hollow."""


def success(rows: Sequence[Mapping[str, Any]], screened: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """A column for each policy and sampler that has caches. Above, of all that were screened, the distance from the sampler without
    a cache against unit evaluations; then, of those that acted, success with intervals against evaluations and against milliseconds
    of a chunk, and in black the policy's few-step samplers without a cache. Ringed: what nothing else of the policy beats in both,
    success and milliseconds.
    """
    models = list(dict.fromkeys(r["model"] for r in rows))
    cached = dict.fromkeys((r["model"], r["sampler"]) for r in rows if r["cache"] != "none")
    columns = sorted(cached, key=lambda c: models.index(c[0]))
    figure = figure_of(3.7 * len(columns) + 0.6, 10.8)
    axes = figure.subplots(3, len(columns), sharey="row", squeeze=False)
    for column, (model, sampler) in enumerate(columns):
        own = [r for r in rows if r["model"] == model]
        best = _front(own)
        _distances(axes[0, column], [r for r in screened if (r["model"], r["sampler"]) == (model, sampler)])
        for ax, key in zip(axes[1:, column], ("units", "ms"), strict=True):
            _panel(ax, own, sampler, key, best)
            ax.set_xlabel({"units": "unit evaluations a chunk", "ms": "milliseconds a chunk, one core"}[key], fontsize=8)
        axes[0, column].set_title(f"{model}, caches on {sampler}", fontsize=9)
    axes[0, 0].set_ylabel("squared distance from no cache", fontsize=8)
    for ax in axes[1:, 0]:
        ax.set_ylabel("success [95 % by Wilson]", fontsize=8)
    for place, part in (((0.5, 0.0), axes[1:]), ((0.5, 0.045), axes[:1])):
        handles = {h.get_label(): h for ax in part.flat for h in ax.get_legend_handles_labels()[0]}
        figure.legend(
            handles.values(), handles.keys(), loc="lower center", bbox_to_anchor=place, ncols=11, fontsize=7, frameon=False
        )
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    return saved(figure, path)


def _distances(ax: Any, screened: Sequence[Mapping[str, Any]]) -> None:
    """A line for each method, a marker for each that shares a colour with another one."""
    methods = list(dict.fromkeys(r["cache"].partition(":")[0] for r in screened if r["cache"] != "none"))
    for method in methods:
        line = sorted((r for r in screened if r["cache"].partition(":")[0] == method and r["own"] > 0), key=lambda r: r["units"])
        family = next(f for f in FAMILIES if method.removesuffix(HOLLOW) in f.split())
        number = family.split().index(method.removesuffix(HOLLOW))
        style = {"color": FAMILIES[family], "marker": MARKERS[number], "linestyle": ":" if method.endswith(HOLLOW) else "-"}
        ax.plot([r["units"] for r in line], [r["own"] for r in line], label=method, markersize=4, linewidth=1, **style)
    ax.set_yscale("log")
    _logarithmic(ax)
    ax.set_xlabel("unit evaluations a chunk", fontsize=8)


def _panel(ax: Any, own: Sequence[Mapping[str, Any]], sampler: str, key: str, best: Sequence[Mapping[str, Any]]) -> None:
    plain = [r for r in own if r["cache"] == "none"]
    for name in dict.fromkeys(r["sampler"].partition(":")[0] for r in plain):
        line = sorted((r for r in plain if r["sampler"].partition(":")[0] == name), key=lambda r: r[key])
        dashes = {"ddim": "-", "dpm": "--", "ddpm": "", "flow": "-"}.get(name, "-")
        marker = {"dpm": "x", "ddpm": "*"}.get(name, "o")
        style = {"color": "black", "linestyle": dashes or "none", "marker": marker, "markersize": 6, "linewidth": 1}
        ax.plot([r[key] for r in line], [r["success"] for r in line], label=f"{name}, no cache", **style)
        for r in line:
            steps = r["sampler"].partition(":")[2]
            above = name == "dpm"
            ax.annotate(steps, (r[key], r["success"]), fontsize=6, xytext=(3, 4 if above else -8), textcoords="offset points")
    for r in own:
        if r["cache"] == "none" or r["sampler"] != sampler:
            continue
        method = r["cache"].partition(":")[0]
        family = next(f for f in FAMILIES if method.removesuffix(HOLLOW) in f.split())
        low, high = r["success"] - r["success_low"], r["success_high"] - r["success"]
        style = {"color": FAMILIES[family], "markerfacecolor": "white" if method.endswith(HOLLOW) else FAMILIES[family]}
        label = family.replace(" ", ", ") + (", one query" if method.endswith(HOLLOW) else "")
        ax.errorbar(r[key], r["success"], [[low], [high]], fmt="s", markersize=5, elinewidth=0.6, label=label, alpha=0.85, **style)
    ringed = [r for r in best if r["sampler"] == sampler or r["cache"] == "none"]
    ring = {"s": 110, "facecolors": "none", "edgecolors": "black", "linewidths": 1.1, "zorder": 3}
    ax.scatter([r[key] for r in ringed], [r["success"] for r in ringed], **ring)
    _logarithmic(ax)


def _logarithmic(ax: Any) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "25" else "")
    ax.tick_params(labelsize=7, which="both")
    ax.grid(alpha=0.25, which="both")


def _front(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows that no other one beats in both, success and milliseconds."""
    out: list[Mapping[str, Any]] = []
    for r in sorted(rows, key=lambda r: (r["ms"], -r["success"])):
        if not out or r["success"] > out[-1]["success"]:
            out.append(r)
    return out


def figure_of(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    return figure


def saved(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
