"""Who is better, by how much, and whether the windows can tell: paired differences over 5 s with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.bench.evaluation.measured import Evaluation
from robotics.driving.metrics import Interval, paired

PARENT_SHARE = 0.02
"""How much worse than its parent a converted model may be."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Displacement over 5 s of a model less that of another on the same windows of a site, m."""

    site: str
    model: str
    against: str
    metres: Interval
    share: float
    """Of the other's displacement."""

    def doubt(self) -> str | None:
        """A plain sentence where the interval is wider than the margin, else None."""
        m = self.metres
        if m.width <= abs(m.mean):
            return None
        said = f"{self.site}, {self.model} against {self.against}: the interval ({m.width:.2f} m wide, {m.scenes} scenes) is wider"
        said += f" than the margin ({abs(m.mean):.2f} m)"
        return said + (" and holds zero: not decided." if m.low <= 0 <= m.high else ", though zero lies outside.")


def differences(e: Evaluation) -> list[Difference]:
    """Every model against the best trivial baseline, against the path that it corrects, and against the parents."""
    out = []
    for where in e.sites():
        rows = e.at(where)
        for entrant in e.entrants:
            rivals = [e.best(where), *e.references]
            rivals += [p for p in e.parents if entrant.name not in e.parents]
            out += [_difference(e, where, rows, entrant.name, r) for r in rivals]
    return out


def _difference(e: Evaluation, where: str, rows: NDArray[np.bool_], model: str, against: str) -> Difference:
    ours, theirs = e.errors[model][rows].mean(axis=1), e.errors[against][rows].mean(axis=1)
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    scenes = [s for s, b in zip(e.scenes(rows), both, strict=True) if b]
    metres = paired(ours[both], theirs[both], scenes)
    return Difference(where, model, against, metres, metres.mean / float(theirs[both].mean()))


def failures(e: Evaluation) -> list[str]:
    """What does not hold of: at or below the best trivial baseline on every site, within 2 % of the parents, all answers valid.

    Of who does not see only the answers are expected to be valid.
    """
    out = []
    blind = {x.name for x in e.entrants if x.blind}
    for d in differences(e):
        if d.model in blind:
            continue
        if d.against in e.baselines and d.model not in e.parents and d.metres.mean > 0:
            out.append(f"{d.site}: {d.model} is {d.metres.mean:.3f} m above {d.against}")
        if d.against in e.parents and d.share > PARENT_SHARE:
            out.append(f"{d.site}: {d.model} is {d.share:.1%} above {d.against}, at most {PARENT_SHARE:.0%} are allowed")
    for name, each in e.outcomes.items():
        invalid = sum(o.plan is None for o in each)
        if invalid:
            out.append(f"{name}: {invalid} of {len(each)} answers are invalid")
    return out
