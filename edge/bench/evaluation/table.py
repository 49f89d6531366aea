"""The result of `edge drive eval` for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from edge.bench.measure import cell, share


def table(result: Mapping[str, Any], where: str) -> Table:
    """One site: everyone's errors, and what the answers of the models cost."""
    title = f"{where}, {result['sites'][where]} windows of split {result['split']}, metres [95 % by bootstrap over scenes]"
    out = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    for head in ("", "ADE 3 s", "ADE 5 s", "FDE 3 s", "FDE 5 s", "valid", "forwards", "ms"):
        out.add_column(head, justify="left" if head == "" else "right", no_wrap=True)
    for row in result["rows"]:
        at = row["sites"][where]
        mark = " *" if row["name"] == result["best"][where] else ""
        errors = [_interval(at[k]) for k in ("ade3_m", "ade5_m", "fde3_m", "fde5_m")]
        costs = [share(row.get("valid")), cell(row.get("forwards"), 1), cell(row.get("ms_p50"), 0)]
        out.add_row(row["name"] + mark, *errors, *costs, style="bold" if "strategy" in row else None)
    out.caption = "* the best trivial baseline here"
    out.caption_justify = "left"
    return out


def _interval(figure: Mapping[str, float]) -> str:
    return f"{figure['mean']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def differences(result: Mapping[str, Any]) -> Table:
    """Paired differences of the models to what they are compared with."""
    title = "displacement over 5 s, paired differences, metres [95 % by bootstrap over scenes]"
    out = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    for head in ("", "less", "on", "difference", "share"):
        out.add_column(head, justify="right" if head in ("difference", "share") else "left", no_wrap=True)
    for d in result["differences"]:
        metres = f"{d['mean']:+.2f} [{d['low']:+.2f}, {d['high']:+.2f}]"
        out.add_row(d["model"], d["against"], d["site"], metres, f"{d['share']:+.1%}")
    return out


def show(result: Mapping[str, Any]) -> None:
    console = Console(file=sys.stdout, width=168, highlight=False)
    for where in result["sites"]:
        console.print(table(result, where))
    console.print(differences(result))
    for d in result["differences"]:
        if d["doubt"]:
            console.print(d["doubt"], soft_wrap=True)
    for line in result["failures"]:
        console.print(f"does not hold: {line}", soft_wrap=True)
