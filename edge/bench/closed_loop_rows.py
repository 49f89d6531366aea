"""Rows of the closed-loop bench, and the table of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from robotics.driving.closed_loop.planners import Drives
from robotics.driving.closed_loop.results import Episode, row
from robotics.driving.closed_loop.world import DT_S, Setting


def ticks_of(latency_ms: float) -> int:
    """Controls change every 0.1 s, so a plan that is done between two ticks is used from the second on."""
    return math.ceil(latency_ms / (DT_S * 1e3) - 1e-9)


def result_rows(
    places: Mapping[str, Sequence[Setting]],
    driver: Drives,
    references: Sequence[Drives],
    given: Sequence[float],
    beside: Sequence[float],
    injected: Mapping[str, float],
    done: Mapping[tuple[str, str, str, str, int], Episode],
) -> Iterator[dict[str, Any]]:
    """A row for the driver at every `given` latency, for every reference at those `beside`, and for every strategy at the latency
    that was measured of it.

    done: episodes by (source, key of the setting, name and identity of the planner, ticks).
    """
    base = ticks_of(given[0])
    for source, found in places.items():

        def of(p: Drives, ms: float, source: str = source, found: Sequence[Setting] = found, **fields: Any) -> dict[str, Any]:
            at, least = ([done[source, s.key, p.name, p.identity, t] for s in found] for t in (ticks_of(ms), base))
            return row(p.name, at, least, ms, source=source, **fields)

        for p in references:
            yield from (of(p, ms) for ms in beside)
        yield from (of(driver, ms) for ms in given)
        yield from (of(driver, ms, strategy=s) for s, ms in injected.items())


def table(result: Mapping[str, Any]) -> Table:
    """The result as a table for a terminal."""
    out = Table(title="closed loop: means over episodes, 95 % intervals by bootstrap over recordings")
    left = ("source", "planner")
    right = ("latency ms", "episodes", "driving score", "change", "at-fault collision", "hit by others", "off road", "progress")
    for head in (*left, *right, "ttc kept", "comfort", "plan age s"):
        out.add_column(head, justify="left" if head in left else "right")
    for r in result["rows"]:
        name = r["name"] + (f" ({r['strategy']})" if "strategy" in r else "")
        cells = [r["source"], name, f"{r['latency_ms']:.0f}", str(r["episodes"]), _interval(r["driving"], 1.0, 2)]
        cells += [_interval(r["driving_change"], 1.0, 2) if r["driving_change"]["mean"] else ""]
        cells += [_interval(r["collision"], 100.0, 0, " %"), f"{r['hit']:.0%}", _interval(r["off_road"], 100.0, 0, " %")]
        out.add_row(*cells, f"{r['progress']:.2f}", f"{r['ttc']:.0%}", f"{r['comfort']:.0%}", f"{r['plan_age_s']:.2f}")
    return out


def _interval(v: Mapping[str, float], scale: float, digits: int, unit: str = "") -> str:
    return f"{v['mean'] * scale:.{digits}f} [{v['low'] * scale:.{digits}f}, {v['high'] * scale:.{digits}f}]{unit}"


def show(result: Mapping[str, Any]) -> None:
    Console(file=sys.stdout, width=200).print(table(result))
