"""What every bench of the planner measures: configurations side by side on the same windows, one row of figures for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bench.windows import site
from edge.core.progress import progress
from edge.generation import Generation
from robotics.driving.evaluate import Configuration, Outcome, column, run, sample
from robotics.driving.metrics import bootstrap_over_scenes
from robotics.driving.planner import Plan
from robotics.driving.scene import Window

AR = "ar"
"""Name of the configuration that all others are compared with."""


def measure(chosen: Sequence[Configuration], found: Sequence[Window], show: bool) -> dict[str, list[Outcome]]:
    """Plan every window with every configuration, interleaved, after one round that is not counted."""
    size = chosen[0].planner.config.image_size
    warm_up(chosen, found[0])
    outcomes: dict[str, list[Outcome]] = {c.name: [] for c in chosen}
    for outcome in progress(run((sample(w, size) for w in found), chosen), len(found), "planning", show):
        for name, o in outcome.items():
            outcomes[name].append(o)
    return outcomes


def warm_up(chosen: Sequence[Configuration], window: Window) -> None:
    """One plan of each configuration, not counted."""
    s = sample(window, chosen[0].planner.config.image_size)
    for _ in run([s], chosen):
        pass


def errors(metres: NDArray[np.float64], scenes: Sequence[str]) -> dict[str, Any]:
    """ADE and FDE over 5 s in all and per site, with 95 % intervals by bootstrap over scenes. metres: [N, K]."""
    ok = ~np.isnan(metres).any(axis=1)
    out: dict[str, Any] = {"ade5_m": float(metres[ok].mean()), "fde5_m": float(metres[ok, -1].mean())}
    where = np.array([site(s) for s in scenes])
    for name in sorted(set(where)):
        pick = ok & (where == name)
        mean, low, high = bootstrap_over_scenes(metres[pick].mean(axis=1), [s for s, p in zip(scenes, pick, strict=True) if p])
        out[f"ade5_m {name}"] = {"mean": mean, "low": low, "high": high, "fde5_m": float(metres[pick, -1].mean())}
    return out


def row(c: Configuration, outcomes: Sequence[Outcome], ar: Sequence[Outcome], scenes: Sequence[str]) -> dict[str, Any]:
    """The figures of a configuration, alone and against those of `ar` of the same model."""
    pairs = [(a.plan, o.plan) for a, o in zip(ar, outcomes, strict=True) if a.plan is not None and o.plan is not None]
    ratio = np.array([a.generation.timings["total"] / o.generation.timings["total"] for a, o in pairs])
    equal = [o.equal for o in outcomes if o.equal is not None]
    return {
        **alone(c.name, c.strategy, outcomes),
        "ar_forwards_ratio": _forwards_ratio(pairs),
        "ratio_ar": float(np.median(ratio)),
        "equal_ar": sum(equal) / len(equal) if equal else None,
        **errors(np.stack([o.errors for o in outcomes]), scenes),
    }


def alone(name: str, strategy: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the answers of a configuration cost, and how many are valid. NaN where none is."""
    total = len(outcomes)

    def of(value: Callable[[Generation], float]) -> NDArray[np.float64]:
        found = column(outcomes, lambda plan: value(plan.generation))
        return found if found.size else np.array([np.nan])

    ms = of(lambda g: g.timings["total"])
    forwards, open_ = of(lambda g: g.forwards).sum(), of(lambda g: g.open_tokens).sum()
    return {
        "name": name,
        "strategy": strategy,
        "windows": total,
        "forwards": forwards / total,
        "rows": of(lambda g: g.rows).mean(),
        "open_tokens": open_ / total,
        "pad_tokens": of(lambda g: g.pad_tokens).mean(),
        "answer_tokens": of(lambda g: len(g.tokens)).mean(),
        "answer_tokens_per_forward": of(lambda g: len(g.tokens)).sum() / forwards,
        "ms_p50": float(np.median(ms)),
        "ms_iqr": float(np.subtract(*np.percentile(ms, [75, 25]))),
        "valid": sum(o.plan is not None for o in outcomes) / total,
    }


def _forwards_ratio(pairs: Sequence[tuple[Plan, Plan]]) -> float:
    """Forwards of `ar` (frozen and padding rows cost it none) over this configuration's, summed over windows."""
    return sum(a.generation.forwards for a, _ in pairs) / sum(o.generation.forwards for _, o in pairs)


def cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
