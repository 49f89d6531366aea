"""The decode bench as a picture: forwards an answer takes with every strategy, and what more rollouts add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.core.errors import InputError, MissingExtraError

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing benches") from e

INK, QUIET, GRID = "#202124", "#6b7178", "#e4e6ea"
PLAIN, EXACT, LOSSY = "#9aa7b8", "#1f6f6b", "#d9a441"
LINES = ("#9aa7b8", "#d9a441", "#1f6f6b")


def draw_decode(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write a PNG, 1500 px wide. result: of `edge.bench.decode.bench`. Raises InputError for a path that cannot be written."""
    shown = best_lines([r for r in result["rows"] if not r["rollouts"]])
    figure = Figure(figsize=(15, 2.0 + 0.42 * len(shown)), dpi=100, facecolor="#ffffff")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1.35))
    _bars(left, shown)
    _rollouts(right, [r for r in result["rows"] if r["rollouts"]])
    windows, env = shown[0]["windows"], result["env"]
    figure.suptitle(
        f"One driving plan of {shown[0]['answer_tokens']:.0f} tokens: forwards of the model", x=0.012, ha="left", fontsize=16,
        fontweight="bold", color=INK,
    )  # fmt: skip
    threads = f"{env['threads']} thread{'' if env['threads'] == 1 else 's'}"
    below = f"mean over {windows} windows of split {result['split']}, {result['dtype']}, {env['cpu']}, {threads}"
    figure.text(0.012, 0.012, f"{below}, {env['date']}", fontsize=9.5, color=QUIET)
    figure.subplots_adjust(left=0.165, right=0.985, top=1 - 0.75 / figure.get_figheight(), bottom=0.75 / figure.get_figheight())
    try:
        FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    except OSError as e:
        raise InputError(f"{path}: cannot write the picture ({e.strerror or e}); choose another folder") from e
    return Path(path)


def best_lines(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of every form the line with the fewest forwards, the most forwards first."""
    forms = dict.fromkeys(r["form"] for r in rows)
    best = [min((r for r in rows if r["form"] == form), key=lambda r: r["forwards"]) for form in forms]
    return sorted(best, key=lambda r: -r["forwards"])


def _bars(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for y, r in enumerate(rows):
        exact = r["equal_ar"] == 1
        ax.barh(y, r["forwards"], color=PLAIN if r["form"] == "ar" else EXACT if exact else LOSSY, height=0.7, zorder=2)
        said = f"{r['forwards']:.1f}   {r['answer_tokens_per_forward']:.1f} tokens each"
        if r["equal_ar"] is not None:
            said += "   the same answer" if exact else f"   {r['equal_ar']:.0%} the same answer"
        ax.text(r["forwards"], y, f"  {said}", va="center", fontsize=10, color=INK)
    names = [r["form"] + (f", {r['block_size']}" if r["block_size"] else "") for r in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=10.5, color=INK)
    ax.set_xlim(0, max(r["forwards"] for r in rows) * 1.55)
    ax.invert_yaxis()
    _plain(ax, "forwards an answer, each form at its best block size (behind the comma)")


def _rollouts(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    size = min((r["block_size"] for r in rows), default=None)
    forms = dict.fromkeys(r["form"] for r in rows)
    for form, colour in zip(forms, LINES, strict=False):
        mine = [r for r in rows if (r["form"], r["block_size"]) == (form, size)]
        n, forwards = [r["rollouts"] for r in mine], [r["forwards"] for r in mine]
        ax.plot(n, forwards, color=colour, marker="o", linewidth=2.4, zorder=2)
        ax.text(n[-1], forwards[-1], f"{form} ", ha="right", va="bottom", fontsize=10, color=INK)
    ax.set_xticks(sorted({r["rollouts"] for r in rows}))
    ax.set_ylim(0, max((r["forwards"] for r in rows), default=1) * 1.2)
    _plain(ax, f"sampled rollouts decoded together, block size {size}")


def _plain(ax: Axes, below: str) -> None:
    ax.set_xlabel(below, fontsize=10, color=QUIET)
    ax.grid(color=GRID, zorder=0)
    ax.tick_params(length=0, labelcolor=INK)
    for side in ax.spines.values():
        side.set_visible(False)
