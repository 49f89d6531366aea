"""What an episode is worth: collisions and whose fault they were, road, progress, time to collision, comfort, and age of plans.

The driving score is that of NAVSIM's predictive driver model, PDMS = NC DAC (5 TTC + 5 EP + 2 C) / 12, of the whole episode as
driven; off the road is here who has the centre outside of every lane (there: a corner), as far as the map goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotics.driving.closed_loop.driven import Driven
from robotics.driving.pdm import (
    Ego,
    Pdm,
    Road,
    agents_of,
    area,
    comfort,
    contacts,
    ego_progress,
    no_collision,
    overlap,
    progress,
    time_to_collision,
)
from robotics.driving.scene import Scene, Track

LOOK_AHEAD_STEPS = 9
"""Time to collision looks 0.9 s beyond the end."""
ROAD_TOLERANCE_M = 0.3
"""nuPlan's, for its drivable area."""
MAP_END_M = 5.0

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """Of one episode; rates are 0 or 1. driving: PDMS; progress: metres driven along the log over those of the log.

    hit: a collision that is not the ego's fault; off_road_share: of all steps; plan_age_s: mean over steps.
    """

    driving: float
    collision: float
    hit: float
    off_road: float
    off_road_share: float
    progress: float
    ttc: float
    comfort: float
    plan_age_s: float
    seconds: float
    plans: int
    failed: int
    ended: str


def score(d: Driven, log: Track) -> Score:
    """log: of the same ego, prolonged; the driver's way in the time of the episode is what progress is measured against."""
    steps = len(d.states)
    ego = _ego(d.scene, d.track_id, d.start, steps)
    agents = agents_of(d.scene, d.track_id, d.start, steps + LOOK_AHEAD_STEPS)
    road = Road(d.scene.lanes, ROAD_TOLERANCE_M)
    where = area(ego, road)
    found = contacts(ego, agents, where)
    whole = log.xy[d.start - log.first :]
    off = off_road(ego.poses[:, :2], whole, road)
    ways = progress(ego.poses[:, :2], whole), float(np.hypot(*np.diff(whole[:steps], axis=0).T).sum())
    comfortable = comfort(ego)[0] if steps >= 5 else 1.0
    parts = Pdm(
        nc=0.0 if d.ended == "world" and not found else no_collision(found, agents),
        dac=float(not off.any()),
        ttc=time_to_collision(ego, agents, where)[0],
        ep=ego_progress(*ways),
        comfort=comfortable,
    )
    return Score(
        driving=parts.score(),
        collision=float(parts.nc < 1.0),
        hit=float(any(not c.at_fault for c in found)),
        off_road=1.0 - parts.dac,
        off_road_share=float(off.mean()),
        progress=ways[0] / max(ways[1], 1e-6),
        ttc=parts.ttc,
        comfort=parts.comfort,
        plan_age_s=float(np.mean(d.ages_s)),
        seconds=len(d.ages_s) * d.scene.dt_s,
        plans=d.plans,
        failed=d.failed,
        ended=d.ended,
    )


def off_road(path: F64, log: ArrayLike, road: Road) -> NDArray[np.bool_]:
    """path [T, 2] m -> [T], outside of every lane, where the map is known.

    Maps end somewhere. Where the nearest point of the log [n, 2], or one up to MAP_END_M after it, lies in no lane either, nothing
    is said of the road.
    """
    points = np.asarray(log, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    held = np.concatenate([[0], np.cumsum(road.inside(points).any(axis=1))])
    end = np.searchsorted(along, along + MAP_END_M, side="right")
    known = held[end] - held[:-1] == end - np.arange(len(points))
    nearest = np.hypot(*(path[:, None] - points).transpose(2, 0, 1)).argmin(axis=1)
    return ~road.inside(path).any(axis=1) & known[nearest]


def at_fault(scene: Scene, track_id: int, start: int, step: int) -> bool:
    """Whether at `step` the ego has run into somebody whom it had not touched before, by its own fault."""
    now = agents_of(scene, track_id, step, 1)
    if not overlap(_ego(scene, track_id, step, 1).boxes()[0], now.boxes[0]).any():
        return False
    steps = step - start + 1
    ego = _ego(scene, track_id, start, steps)
    where = area(ego, Road(scene.lanes, ROAD_TOLERANCE_M))
    found = contacts(ego, agents_of(scene, track_id, start, steps), where)
    return any(c.at_fault for c in found)


def _ego(scene: Scene, track_id: int, first: int, steps: int) -> Ego:
    t = scene.tracks[track_id]
    at = slice(first - t.first, first - t.first + steps)
    poses = np.concatenate([t.xy[at], t.yaw[at, None]], axis=1).astype(np.float64)
    return Ego(poses, t.speed[at].astype(np.float64), (t.length_m, t.width_m), scene.dt_s)
