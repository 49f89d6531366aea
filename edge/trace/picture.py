"""A trace as a picture: the answer's rows from left to right, one line for each forward from top to bottom, cells by state.

Drawn with matplotlib's Agg canvas alone: no window, no global state, the same bytes for the same input.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.core.errors import InputError, MissingExtraError
from edge.core.tracing import State

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
except ImportError as e:
    raise MissingExtraError("matplotlib", "drive", "drawing traces") from e

from edge.trace.figure_grid import BAR, COLOURS, FAINT, INK, PAPER, QUIET, Filling, draw_cells, draw_tokens
from edge.trace.record import TraceRecord

WIDTH_PX, DPI = 1600, 100
LEFT, BARS, RIGHT, TOP, BOTTOM = 108, 236, 24, 136, 122
"""Margins in pixels; BARS is the room of the two bar columns."""

LEGEND = {
    State.FROZEN: "frozen by the scaffold",
    State.DECIDED: "decided earlier",
    State.ACCEPTED: "accepted as guessed",
    State.CORRECTED: "corrected",
    State.NEW: "decided, not guessed",
    State.SETTLED: "left no choice",
    State.REJECTED: "guess rejected",
    State.GUESSED: "drafted, still open",
    State.OPEN: "open",
}
NOW = (State.ACCEPTED, State.CORRECTED, State.NEW, State.SETTLED, State.REJECTED)


def draw_trace(records: Sequence[TraceRecord], path: str | Path) -> Path:
    """Write a PNG, WIDTH_PX wide and as high as its forwards need. Returns the path.

    records: of one generation, as `read_trace` gives them. Raises InputError for a path that cannot be written.
    """
    filling = Filling.of(records)
    cell = min(max(820 / len(filling.lines), 3.0), 26.0)
    middle = cell * len(filling.lines)
    height = round(TOP + middle + BOTTOM)
    figure = Figure(figsize=(WIDTH_PX / DPI, height / DPI), dpi=DPI, facecolor="#ffffff")

    def axes(left: float, width: float) -> Axes:
        return figure.add_axes((left / WIDTH_PX, BOTTOM / height, width / WIDTH_PX, middle / height))

    across = WIDTH_PX - LEFT - BARS - RIGHT
    grid = axes(LEFT, across)
    draw_cells(grid, filling, across / filling.columns, cell)
    draw_tokens(grid, filling, across / filling.columns, cell)
    _sections(grid, filling, across / filling.columns, cell)
    at = LEFT + across + 12
    _bars(axes(at, 78), filling, [None if r is None else r.rows for r in filling.lines], "rows", cell)
    _bars(axes(at + 124, 78), filling, [None if r is None else r.ms for r in filling.lines], "ms", cell)
    figure.text(
        LEFT / WIDTH_PX, 1 - 38 / height, _title(records, filling), fontsize=17, fontweight="bold", color=INK, parse_math=False
    )
    figure.text(LEFT / WIDTH_PX, 1 - 62 / height, _below(records), fontsize=10.5, color=QUIET)
    _legend(figure, filling, height)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box is drawn for it
            FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    except OSError as e:
        raise InputError(f"{path}: cannot write the picture ({e.strerror or e}); choose another folder") from e
    return Path(path)


def _title(records: Sequence[TraceRecord], filling: Filling) -> str:
    forwards = max(r.forward for r in records)
    rollouts = max(r.lineage for r in records)
    name = records[0].strategy + (f", {rollouts} rollouts" if rollouts else "")
    return f"{name}: {filling.said} tokens in {forwards} forwards, {filling.said / forwards:.2f} tokens per forward"


def _below(records: Sequence[TraceRecord]) -> str:
    ms = {r.forward: r.ms for r in records}  # rollouts share their forwards
    rows = sum(r.rows for r in records)
    return (
        f"{rows} rows computed in {sum(ms.values()):.0f} ms  ·  a line is a forward, a column a token of the answer; "
        "the colour says what became of it in that forward"
    )


def _sections(ax: Axes, filling: Filling, width: float, cell: float) -> None:
    """Names above the cells, a bracket each, and lines down through them."""
    start = 0
    for name, end in filling.sections:
        if start >= end:
            continue
        if start:
            ax.axvline(start - 0.5, color=INK, linewidth=1.1, alpha=0.55, zorder=4)
        y = -0.5 - 7 / cell
        bracket = [start - 0.5 + 2 / width, end - 0.5 - 2 / width]
        ax.plot(bracket, [y, y], color=INK, linewidth=2.2, clip_on=False, solid_capstyle="butt")
        words = textwrap.fill(name.replace("_", " "), max(int((end - start) * width / 6.4), 4), break_long_words=False)
        middle = (start + end - 1) / 2
        ax.text(middle, y - 5 / cell, words, ha="center", va="bottom", fontsize=9, color=INK, linespacing=1.05, parse_math=False)
        start = end


def _bars(ax: Axes, filling: Filling, values: Sequence[float | None], name: str, cell: float) -> None:
    """A bar for every forward. One that is more than twice as long as all others is cut, or the others could not be told apart."""
    known = sorted((v for v in values if v is not None), reverse=True)
    longest = 1.3 * known[1] if len(known) > 1 and known[0] > 2 * known[1] > 0 else max(known[0], 1e-9)
    ax.set(xlim=(0, longest), ylim=(len(filling.lines) - 0.5, -0.5), xticks=[], yticks=[], facecolor="none")
    for side in ax.spines.values():
        side.set_visible(False)
    for y, v in enumerate(values):
        if v is None:
            continue
        ax.add_patch(Rectangle((0, y - 0.36), min(v, longest), 0.72, facecolor=BAR, linewidth=0))
        if v > longest:
            ax.plot([0.8 * longest, 0.86 * longest], [y + 0.5, y - 0.5], color=PAPER, linewidth=3)
        if cell >= 13 or v >= known[0]:
            text = f" {v:.0f}" if v >= 10 or name == "rows" else f" {v:.1f}"
            ax.text(min(v, longest), y + 0.04, text, va="center", fontsize=7.5, color=QUIET)
    ax.text(0, -0.5 - 7 / cell, name, fontsize=9.5, fontweight="bold", color=INK, va="bottom")


def _legend(figure: Figure, filling: Filling, height: int) -> None:
    """Only what occurs, with how often."""
    x, y = float(LEFT), 24
    for state, words in LEGEND.items():
        n = filling.count(state)
        if not n:
            continue
        text = f"{words}: {n}" if state in NOW else words
        box: Any = {"transform": figure.transFigure, "facecolor": COLOURS[state], "edgecolor": FAINT, "linewidth": 0.8}
        figure.add_artist(Rectangle((x / WIDTH_PX, (y - 3) / height), 14 / WIDTH_PX, 14 / height, **box))
        figure.text((x + 20) / WIDTH_PX, y / height, text, fontsize=9.5, color=INK, va="baseline")
        x += 20 + 6.6 * len(text) + 26
