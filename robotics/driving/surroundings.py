"""What one picture shows of the traffic around the ego, in a few numbers: gaps, counts, brake lights; no speeds.

It is read from boxes where data are written, for a teacher that knows as much as the cameras could tell (`teacher`). Speeds of
others are left out on purpose: a still picture does not show them, and a model that is taught with them learns to guess.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edge.core.config import Frozen

F64 = NDArray[np.float64]

Metres = Annotated[float, Field(ge=0)]

REACH_M = 60.0
BESIDE_M = (1.8, 5.4)
"""Sideways distance of vehicles in the next lane."""
SEEN_SIDEWAYS_M = 9.0


class Surroundings(Frozen):
    """Vehicles ahead that face the ego's way, within 60 m. Distances between centres but for the lead; None where there is none."""

    lead_m: Metres | None
    """Gap between bumpers to the nearest vehicle straight ahead."""
    lead_brakes: bool
    second_m: Metres | None
    """To the vehicle before the lead."""
    left_m: Metres | None
    right_m: Metres | None
    """To the nearest vehicle ahead in the next lane."""
    ahead: Annotated[int, Field(ge=0)]
    """How many vehicles within 9 m to either side."""

    def numbers(self, v_mps: float) -> F64:
        """[13], each of order one. v_mps: the ego's speed, which makes a gap long or short."""
        has, gap = self.lead_m is not None, min(self.lead_m or 0.0, REACH_M)
        near = float(has) * np.exp(-gap / 15)
        headway = float(has) * min(gap / max(v_mps, 2.0), 6.0) / 3
        lead = [has, has * gap / 20, self.lead_brakes, near, headway, self.lead_brakes * np.exp(-gap / 20)]
        second = [self.second_m is not None, 0.0 if self.second_m is None else np.exp(-self.second_m / 30)]
        beside = [n for d in (self.left_m, self.right_m) for n in (d is not None, 0.0 if d is None else np.exp(-d / 20))]
        return np.array([*lead, self.ahead / 3, *second, *beside], dtype=np.float64)


def surroundings(xy: F64, yaw: F64, size: F64, ego_length_m: float, lead: int | None, lead_brakes: bool) -> Surroundings:
    """From the other vehicles in the ego frame (as `labels.Others`). xy: [N, 2] m; yaw: [N] rad; size: [N, 2] m; lead: its row."""
    x, y = xy[:, 0], xy[:, 1]
    ahead = (x > 0) & (x < REACH_M) & (np.abs(yaw) < np.pi / 4)

    def nearest(rows: NDArray[np.bool_], rank: int = 0) -> float | None:
        found = np.sort(x[rows])
        return float(found[rank]) if found.size > rank else None

    gap = None if lead is None else max(float(x[lead] - (ego_length_m + size[lead, 0]) / 2), 0.0)
    low, high = BESIDE_M
    return Surroundings(
        lead_m=gap,
        lead_brakes=lead_brakes,
        second_m=nearest(ahead & (np.abs(y) < low), 1),
        left_m=nearest(ahead & (y > low) & (y < high)),
        right_m=nearest(ahead & (-y > low) & (-y < high)),
        ahead=int((ahead & (np.abs(y) < SEEN_SIDEWAYS_M)).sum()),
    )
