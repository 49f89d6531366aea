"""The middle of a trace's picture: a cell for every answer row and forward, forwards on the left, tokens below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from edge.core.tracing import State
from edge.trace.record import TraceRecord

INK, QUIET, FAINT, PAPER, BAR = "#202124", "#6b7178", "#dadce0", "#ffffff", "#9aa7b8"
COLOURS = {
    State.FROZEN: "#dde1e6",
    State.DECIDED: "#a9bcd6",
    State.ACCEPTED: "#188038",
    State.CORRECTED: "#e8710a",
    State.NEW: "#1473e6",
    State.SETTLED: "#12a5ad",
    State.REJECTED: "#f4b6b0",
    State.GUESSED: "#fde9a8",
    State.OPEN: "#f7f8fa",
    State.GONE: PAPER,
}


@dataclass(frozen=True, slots=True)
class Filling:
    """What there is to draw. lines: a record each, by lineage, None where rollouts part; columns: rows of the answer; said: those
    of them that are decided at last.

    sections: names and exclusive ends; tokens: text of every row at last, of the first rollout where there are several.
    """

    lines: list[TraceRecord | None]
    columns: int
    said: int
    sections: list[tuple[str, int]]
    tokens: list[str]

    @classmethod
    def of(cls, records: Sequence[TraceRecord]) -> Filling:
        lines: list[TraceRecord | None] = []
        for lineage in sorted({r.lineage for r in records}):
            lines += [None] if lineage else []
            lines += [r for r in records if r.lineage == lineage]
        last = {r.lineage: r for r in records}.values()
        # rows behind the end of the answer may have held guesses to the very last
        columns = max(1, *(len(r.states.rstrip(State.GONE + State.REJECTED)) for r in last))
        tokens = [""] * columns
        for r in records:
            for row, _, text in r.written if r.lineage <= 1 else ():
                if row < columns:
                    tokens[row] = text
        ends = [(name, min(end, columns)) for name, end in records[0].sections]
        return cls(lines, columns, max(r.said for r in last), ends, tokens)

    def states(self, line: int) -> str:
        r = self.lines[line]
        if r is None:
            return State.GONE * self.columns
        return r.states[: self.columns].ljust(self.columns, State.OPEN if r.lineage == 0 else State.GONE)

    def count(self, state: State) -> int:
        """Of all records, rows behind the answer's end among them."""
        return sum(r.states.count(state) for r in self.lines if r is not None)

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [lines, columns, 3]"""
        rgb = {s: [int(c[k : k + 2], 16) for k in (1, 3, 5)] for s, c in COLOURS.items()}
        return np.array([[rgb[State(s)] for s in self.states(n)] for n in range(len(self.lines))], dtype=np.uint8)


def draw_cells(ax: Axes, filling: Filling, width: float, cell: float) -> None:
    """Cells of `width` x `cell` pixels, parted by hairlines where there is room for them."""
    n, m = len(filling.lines), filling.columns
    ax.imshow(filling.pixels(), interpolation="nearest", aspect="auto", extent=(-0.5, m - 0.5, n - 0.5, -0.5))
    ax.set(xlim=(-0.5, m - 0.5), ylim=(n - 0.5, -0.5), xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_color(FAINT)
    if min(width, cell) >= 5:
        down = [[(k - 0.5, -0.5), (k - 0.5, n - 0.5)] for k in range(1, m)]
        across = [[(-0.5, k - 0.5), (m - 0.5, k - 0.5)] for k in range(1, n)]
        ax.add_collection(LineCollection(down + across, colors=PAPER, linewidths=0.8, zorder=2))
    _forwards(ax, filling, width, cell)


def _forwards(ax: Axes, filling: Filling, width: float, cell: float) -> None:
    """Number and kind on the left: of every forward where there is room, else of every fifth and where the kind changes."""
    before = None
    for n, r in enumerate(filling.lines):
        if r is None:
            follows = filling.lines[n + 1]
            assert follows is not None
            ax.text(-0.5, n, f"rollout {follows.lineage}", fontsize=8.5, fontweight="bold", color=INK, va="center")
            before = None
            continue
        if cell >= 13 or r.kind != before or r.forward % 5 == 0:
            size = 8.5 if cell >= 13 else 7
            ax.text(-0.5 - 60 / width, n, str(r.forward), ha="right", va="center", fontsize=size, color=QUIET)
            if cell >= 13 or r.kind != before:
                ax.text(-0.5 - 54 / width, n, r.kind, ha="left", va="center", fontsize=size, color=INK)
        before = r.kind


def draw_tokens(ax: Axes, filling: Filling, width: float, cell: float) -> None:
    """What the rows hold at last, below their columns; frozen text is long and is left out where columns are narrow."""
    if width < 6:
        return
    last = next(r for r in reversed(filling.lines) if r is not None)
    for column, text in enumerate(filling.tokens):
        frozen = last.states[column : column + 1] == State.FROZEN
        words = " ".join(text.split())
        if not words or (frozen and width < 16):
            continue
        shown = words if len(words) <= 12 else words[:11] + "…"
        ax.text(
            column, len(filling.lines) - 0.5 + 5 / cell, shown, rotation=0 if 7 * len(shown) <= width else 90, ha="center",
            va="top", fontsize=min(7.5, width * 0.85), color=QUIET if frozen else INK, parse_math=False,
        )  # fmt: skip
