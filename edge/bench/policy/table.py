"""Success of a policy for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from edge.bench.measure import cell


def show(result: Mapping[str, Any]) -> None:
    """Print one line for each task, and one for all of them."""
    out = Table(title=f"{result['model']}, {result['sampler']}, at most {result['limit']} steps [95 % by Wilson]")
    for head in ("task", "episodes", "success", "steps p50", "ms p50", "p99"):
        out.add_column(head, justify="left" if head == "task" else "right")
    for r in result["rows"]:
        success = f"{r['success']:.0%} [{r['success_low']:.0%}, {r['success_high']:.0%}]"
        figures = (cell(r["steps_p50"], 0), cell(r["ms_p50"], 1), cell(r["ms_p99"], 1))
        out.add_row(r["name"], str(r["episodes"]), success, *figures)
    Console(file=sys.stdout, width=140, highlight=False).print(out)
