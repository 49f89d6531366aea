"""The predictive driver model score: sub-scores of a driven stretch, and the two formulas that join them.

PDMS (NAVSIM v1, arXiv 2406.15349) = NC DAC (5 TTC + 5 EP + 2 C) / 12.
EPDMS (NAVSIM v2, arXiv 2506.04218) = NC DAC DDC TLC (5 EP + 5 TTC + 2 LK + 2 HC + 2 EC) / 16, every part set to 1 where the human
driver fails it too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotics.driving.pdm.boxes import Bools
from robotics.driving.pdm.collision import Contact, contacts, no_collision, time_to_collision
from robotics.driving.pdm.motion import comfort
from robotics.driving.pdm.road import Area, Road, area, to_segments
from robotics.driving.pdm.rollout import Agents, Ego

F64 = NDArray[np.float64]

LEAST_PROGRESS_M = 5.0
"""Where even the best drives less, everyone's progress counts as whole."""
ONCOMING_S, ONCOMING_M = 1.0, (2.0, 6.0)
LANE_M, LANE_S = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Pdm:
    """Sub-scores of NAVSIM v1, each 0 to 1."""

    nc: float
    dac: float
    ttc: float
    ep: float
    comfort: float

    def score(self) -> float:
        return self.nc * self.dac * (5 * self.ttc + 5 * self.ep + 2 * self.comfort) / 12


@dataclass(frozen=True, slots=True)
class ExtendedPdm:
    """Sub-scores of NAVSIM v2, each 0 to 1."""

    nc: float
    dac: float
    ddc: float
    tlc: float
    ep: float
    ttc: float
    lk: float
    hc: float
    ec: float

    def score(self, human: ExtendedPdm | None = None) -> float:
        """human: the recorded driver's sub-scores in the same scene; what those fail with 0 is not held against anyone."""
        s = self if human is None else self._forgiven(human)
        return s.nc * s.dac * s.ddc * s.tlc * (5 * s.ep + 5 * s.ttc + 2 * s.lk + 2 * s.hc + 2 * s.ec) / 16

    def _forgiven(self, human: ExtendedPdm) -> ExtendedPdm:
        return ExtendedPdm(*(1.0 if getattr(human, f.name) == 0 else getattr(self, f.name) for f in fields(self)))


def pdm(
    ego: Ego, agents: Agents, road: Road, route: ArrayLike, best_m: float, junction: Bools | None = None
) -> tuple[Pdm, list[Contact]]:
    """All sub-scores of NAVSIM v1 for one stretch, and the collisions.

    route: centre line [n, 2] m to measure progress along (or the recorded path); best_m: the progress of the best driver known,
    e.g. the recorded one. junction: [T] whether the ego is in a junction. Raises InputError for a road without lanes.
    """
    where = area(ego, road)
    found = contacts(ego, agents, where)
    parts = Pdm(
        nc=no_collision(found, agents),
        dac=on_road(where),
        ttc=time_to_collision(ego, agents, where, junction)[0],
        ep=ego_progress(progress(ego.poses[:, :2], route), best_m),
        comfort=comfort(ego)[0],
    )
    return parts, found


def on_road(where: Area) -> float:
    """DAC: 0 if any corner ever leaves all lanes, else 1."""
    return float(not where.off_road.any())


def progress(path: ArrayLike, route: ArrayLike) -> float:
    """Metres along `route` [n, 2] from the first to the last point of `path` [T, 2], each projected; never below 0."""
    p, line = np.asarray(path, dtype=np.float64), np.asarray(route, dtype=np.float64)
    length = np.hypot(*np.diff(line, axis=0).T)
    start = np.concatenate([[0.0], np.cumsum(length)])
    ends = p[[0, -1]]
    k = to_segments(ends, line[:-1], line[1:]).argmin(axis=1)
    d = line[k + 1] - line[k]
    share = np.clip(((ends - line[k]) * d).sum(axis=1) / np.maximum((d * d).sum(axis=1), 1e-12), 0.0, 1.0)
    at = start[k] + share * length[k]
    return float(max(at[1] - at[0], 0.0))


def ego_progress(ego_m: float, best_m: float) -> float:
    """EP: progress relative to the best, at most 1; 1 where the best is at most LEAST_PROGRESS_M. (NAVSIM's best is that of the
    ego and of its own rule-based planner.)"""
    return 1.0 if max(ego_m, best_m) <= LEAST_PROGRESS_M else ego_m / max(ego_m, best_m)


def driving_direction(ego: Ego, where: Area) -> float:
    """DDC: by the most metres driven against the traffic within any second: 1 below 2 m, 1/2 below 6 m, else 0."""
    moved = np.concatenate([[0.0], np.hypot(*np.diff(ego.poses[:, :2], axis=0).T)]) * where.oncoming
    n = round(ONCOMING_S / ego.dt_s) + 1
    most = float(np.convolve(moved, np.ones(n))[: len(moved)].max())
    return 1.0 if most < ONCOMING_M[0] else 0.5 if most < ONCOMING_M[1] else 0.0


def lane_keeping(ego: Ego, route: ArrayLike, junction: Bools | None = None) -> float:
    """LK: 0 if the centre is more than 0.5 m off the centre line for 2 s without a break, else 1.

    Steps in a junction neither count nor break the run (NAVSIM v2): there centre lines do not say where people drive.
    """
    line = np.asarray(route, dtype=np.float64)
    off = to_segments(ego.poses[:, :2], line[:-1], line[1:]).min(axis=1) > LANE_M
    run = longest = 0
    for step_off in off if junction is None else off[~junction]:
        run = run + 1 if step_off else 0
        longest = max(longest, run)
    return float(longest < int(np.ceil(LANE_S / ego.dt_s)))
