"""An evaluation in the common form of a bench."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bench import record
from edge.bench.evaluation.comparison import differences, failures
from edge.bench.evaluation.measured import Evaluation, answered
from edge.bench.measure import alone
from robotics.driving.metrics import Interval, interval
from robotics.driving.metrics.displacement import index

F64 = NDArray[np.float64]

HORIZONS_S = (3, 5)


def figures(errors: F64, scenes: Sequence[str]) -> dict[str, Interval]:
    """ADE and FDE at 3 and 5 s of errors [N, 10] m, invalid answers left out."""
    ok = answered(errors)
    kept, theirs = errors[ok], [s for s, o in zip(scenes, ok, strict=True) if o]
    out = {}
    for h in HORIZONS_S:
        last = index(h)
        out[f"ade{h}_m"] = interval(kept[:, : last + 1].mean(axis=1), theirs)
        out[f"fde{h}_m"] = interval(kept[:, last], theirs)
    return out


def report(e: Evaluation, split: str, dtype: str, workers: int, wall_s: float) -> dict[str, Any]:
    """The result in the common form of a bench: a row for every planner, with figures per site, and the differences."""
    rows = []
    strategies = {x.name: x.strategy for x in e.entrants}
    for name, metres in e.errors.items():
        row: dict[str, Any] = {"name": name, "windows": len(e.windows)}
        if name in e.outcomes:
            row = alone(name, strategies[name], e.outcomes[name])
        ok = answered(metres)
        row |= {"ade5_m": float(metres[ok].mean()), "fde5_m": float(metres[ok, -1].mean())}
        row["sites"] = {w: _site_row(e, w, metres) for w in e.sites()}
        rows.append(row)
    told = [
        {"site": d.site, "model": d.model, "against": d.against, **d.metres.as_json(), "share": d.share, "doubt": d.doubt()}
        for d in differences(e)
    ]
    models = {x.name: str(x.model) for x in e.entrants}
    common = {"split": split, "dtype": dtype, "workers": workers, "wall_s": round(wall_s, 1), "models": models, "sites": e.sites()}
    return record.report("eval", rows, **common, best={w: e.best(w) for w in e.sites()}, differences=told, failures=failures(e))


def _site_row(e: Evaluation, where: str, metres: F64) -> dict[str, Any]:
    rows = e.at(where)
    figs = {k: v.as_json() for k, v in figures(metres[rows], e.scenes(rows)).items()}
    return figs | {"error_m": [round(float(v), 4) for v in np.nanmean(metres[rows], axis=0)]}
