"""Success of a policy for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from edge.bench.measure import cell


def show(result: Mapping[str, Any]) -> None:
    """Print one line for each task, and one for all of them."""
    told = f"{result['model']}, {result['sampler']}, cache {result['cache']}"
    told += ("" if result["words"] is None else f", told {result['words']!r}") + (", blind" if result["blind"] else "")
    split = "vision_ms" in result["rows"][0]
    out = Table(title=f"{told}, at most {result['limit']} steps [95 % by Wilson]")
    heads = ("task", "episodes", "success", "steps p50", "units", "ms p50", "p99")
    for head in (*heads, "vision", "vlm", "expert") if split else heads:
        out.add_column(head, justify="left" if head == "task" else "right")
    for r in result["rows"]:
        success = f"{r['success']:.0%} [{r['success_low']:.0%}, {r['success_high']:.0%}]"
        figures = (cell(r["steps_p50"], 0), cell(r["units"], 0), cell(r["ms_p50"], 1), cell(r["ms_p99"], 1))
        parts = [cell(r[k], 1) for k in ("vision_ms", "vlm_ms", "expert_ms")] if split else []
        out.add_row(r["name"], str(r["episodes"]), success, *figures, *parts)
    Console(file=sys.stdout, width=140, highlight=False).print(out)


def show_bench(result: Mapping[str, Any]) -> None:
    """Print one line for each entry that acted: the least work first, samplers apart."""
    tasks = list(result["rows"][0]["tasks"])
    out = Table(
        title=f"{result['episodes']} episodes of each task [95 % by Wilson]; own: squared distance from the uncached sampler"
    )
    for head in ("policy", "sampler", "cache", "units", "MFLOP", "own", "ms", "faster", "success", *tasks, "steps"):
        out.add_column(head, justify="left" if head in ("policy", "sampler", "cache") else "right", no_wrap=True)
    for r in sorted(result["rows"], key=lambda r: (r["model"], r["sampler"], r["cache"] != "none", r["units"])):
        success = f"{r['success']:.0%} [{r['success_low']:.0%}, {r['success_high']:.0%}]"
        cost = (cell(r["units"], 0), cell(r["flops"] / 1e6, 0), f"{r['own']:.5f}", cell(r["ms"], 1), cell(r.get("times_faster"), 1))
        each = [f"{r['tasks'][t]['success']:.0%}" for t in tasks]
        out.add_row(r["model"], r["sampler"], r["cache"], *cost, success, *each, cell(r["steps_p50"], 0))
    Console(file=sys.stdout, width=220, highlight=False).print(out)


MATCHED = {"ddpm:100": 90}
FEW = 36
"""Unit evaluations at which methods are put side by side: a tenth of DDPM's 900, and four of the few-step samplers' steps."""


def show_matched(result: Mapping[str, Any]) -> None:
    """Print of every method that was screened the distance where its evaluations, in brackets, are nearest to the matched ones."""
    screened = [r for r in result["screened"] if r["cache"] != "none"]
    columns = list(dict.fromkeys((r["model"], r["sampler"]) for r in screened))
    out = Table(title="squared distance from the same sampler without a cache (unit evaluations), methods at about equal work")
    for head in ("cache", *(f"{model} {sampler}" for model, sampler in columns)):
        out.add_column(head, justify="left" if head == "cache" else "right", no_wrap=True)
    for method in dict.fromkeys(r["cache"].partition(":")[0] for r in screened):
        out.add_row(method, *(_matched(screened, method, *column) for column in columns))
    Console(file=sys.stdout, width=220, highlight=False).print(out)


def _matched(screened: Sequence[Mapping[str, Any]], method: str, model: str, sampler: str) -> str:
    own = [r for r in screened if (r["model"], r["sampler"], r["cache"].partition(":")[0]) == (model, sampler, method)]
    if not own:
        return ""
    near = min(own, key=lambda r: abs(r["units"] - MATCHED.get(sampler, FEW)))
    return f"{near['own']:.5f} ({near['units']:.0f})"
