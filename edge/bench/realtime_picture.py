"""Late chunks as a picture: success, time and smoothness against latency, a line for each way to execute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.bench.policy.picture import figure_of, saved

LINES = {
    "blocking": ("C7", "o", "wait for it (blocking)"),
    "newest": ("C0", "s", "newest wins"),
    "average": ("C9", "v", "weighted average"),
    "inpaint": ("C1", "D", "inpainting"),
    "guided": ("C3", "^", "real-time chunking (guided)"),
}
PANELS = (
    ("success", "success [95 % by Wilson]"),
    ("seconds_p50", "seconds until done (median of successes)"),
    ("held", "share of steps without an action"),
    ("jerk", "mean squared jerk of the hand, (m/s³)²"),
)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """A row of panels for each policy and number of actions after which the next chunk is asked for."""
    models = list(dict.fromkeys((r["model"], r["sampler"], r["execute"]) for r in rows))
    figure = figure_of(3.6 * len(PANELS), 3.3 * len(models) + 0.5)
    axes = figure.subplots(len(models), len(PANELS), squeeze=False, sharex=True)
    for row, which in zip(axes, models, strict=True):
        for ax, (key, label) in zip(row, PANELS, strict=True):
            _panel(ax, [r for r in rows if (r["model"], r["sampler"], r["execute"]) == which], key)
            ax.set_ylabel(label, fontsize=8)
        row[0].set_title(f"{which[0]}, {which[1]}, asked after {which[2]} actions", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("latency of a chunk, ms", fontsize=8)
    handles = {h.get_label(): h for ax in axes.flat for h in ax.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=5, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.4 / (3.3 * len(models) + 0.5), 1, 1))
    return saved(figure, path)


def _panel(ax: Any, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    merges = [m for m in LINES if any(r["merge"] == m for r in rows)]
    for n, merge in enumerate(merges):
        line = sorted((r for r in rows if r["merge"] == merge and r[key] is not None), key=lambda r: r["latency_ms"])
        color, marker, label = LINES[merge]
        shift = 2.5 * (n - (len(merges) - 1) / 2) if key == "success" else 0
        x, y = [r["latency_ms"] + shift for r in line], [r[key] for r in line]
        ax.plot(x, y, color=color, marker=marker, markersize=4, linewidth=1, label=label)
        if key == "success":
            spans = [[r[key] - r["success_low"] for r in line], [r["success_high"] - r[key] for r in line]]
            ax.errorbar(x, y, spans, fmt="none", ecolor=color, elinewidth=0.6, alpha=0.7)
    ax.set_ylim(bottom=0)
    ax.tick_params(labelsize=7)
    ax.grid(alpha=0.25)
