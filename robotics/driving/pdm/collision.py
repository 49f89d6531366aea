"""Collisions and whose fault they are, and collisions that are a second away.

Source: NAVSIM's PDM scorer (autonomousvision/navsim, pdm_scorer.py, arXiv 2406.15349), which follows nuPlan's closed-loop metrics.
Shapes: `T` steps, `N` agents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robotics.driving.pdm.boxes import Bools, corners, crosses, overlap
from robotics.driving.pdm.road import Area
from robotics.driving.pdm.rollout import REAR_AXLE, Agents, Ego

F64 = NDArray[np.float64]
Kind = Literal["stopped ego", "stopped agent", "rear", "front", "lateral"]

STOPPED_MPS = 0.05
AHEAD_RAD, BEHIND_RAD = np.deg2rad(30.0), np.deg2rad(150.0)
TTC_STEPS = (0, 3, 6, 9)
"""Steps of 0.1 s that the ego is carried on at constant velocity: a collision counts within 0.95 s."""
TTC_STANDING_MPS = 0.005


@dataclass(frozen=True, slots=True)
class Contact:
    """The first contact with an agent. step: of the ego; agent: column of `Agents`."""

    step: int
    agent: int
    kind: Kind
    at_fault: bool


def contacts(ego: Ego, agents: Agents, area: Area | None = None) -> list[Contact]:
    """Every agent that the ego touches, at its first contact, by step.

    At fault is who runs into something that stands, or into a moving agent with the front, or is hit in the side while in several
    lanes or off the road (`area`; without it no side collision is the ego's fault). Not at fault is who stands, or is hit from
    behind. Agents that overlap the ego at the first step are left out: the recording, not the driving, put them there.
    """
    steps = min(len(ego), len(agents.boxes))
    boxes = ego.boxes()[:steps]
    touch = overlap(boxes[:, None], agents.boxes[:steps])
    front = corners(boxes)[:, :2]
    angle = relative_angle(boxes, agents.boxes[:steps])
    out = []
    for n in (touch.any(axis=0) & ~touch[0]).nonzero()[0]:
        t = int(touch[:, n].argmax())
        kind: Kind
        if abs(ego.speed[t]) <= STOPPED_MPS:
            kind = "stopped ego"
        elif agents.static[n] or abs(agents.speed[t, n]) <= STOPPED_MPS:
            kind = "stopped agent"
        elif angle[t, n] > BEHIND_RAD:
            kind = "rear"
        else:
            kind = "front" if crosses(front[t], agents.boxes[t, n]) else "lateral"
        astray = area is not None and bool(area.several_lanes[t] or area.off_road[t])
        out.append(Contact(t, int(n), kind, kind in ("stopped agent", "front") or (kind == "lateral" and astray)))
    return sorted(out, key=lambda c: (c.step, c.agent))


def no_collision(found: list[Contact], agents: Agents) -> float:
    """NC: 0 after a collision with a road user by the ego's fault, 1/2 after one with a static thing, else 1."""
    return min((0.5 if agents.static[c.agent] else 0.0 for c in found if c.at_fault), default=1.0)


def time_to_collision(
    ego: Ego, agents: Agents, area: Area | None = None, junction: Bools | None = None
) -> tuple[float, int | None]:
    """TTC: 0 if at any step the ego, carried on at constant velocity, would touch an agent where that agent will be 0, 0.3, 0.6 or
    0.9 s later, else 1; and the step.

    It counts if the agent is ahead (within 30 degrees), or anywhere but behind while the ego is in several lanes, off the road
    (`area`) or in a junction ([T]). An agent whose first such contact does not count is left out from then on, as is one that
    overlaps the ego at the start. Steps whose future is not in `agents` are not looked at. Where the agent is, is judged when they
    would touch; NAVSIM judges it from where the ego is before it is carried on, so that there a faster vehicle that comes up from
    behind counts as ahead.
    """
    last = TTC_STEPS[-1]
    steps = min(len(ego), len(agents.boxes) - last)
    if steps < 1 or not agents.boxes.shape[1]:
        return 1.0, None
    touch, angle = [], []
    for k in TTC_STEPS:
        ahead = ego.boxes()[:steps]
        ahead[:, :2] += ego.heading()[:steps] * (ego.speed[:steps] * k * ego.dt_s)[:, None]
        later = agents.boxes[k : k + steps]
        touch.append(overlap(ahead[:, None], later) & (np.abs(ego.speed[:steps, None]) >= TTC_STANDING_MPS))
        angle.append(relative_angle(ahead, later))
    hit = np.stack(touch, axis=1).reshape(steps * len(TTC_STEPS), -1)  # in time, then by how far it looks ahead
    angles = np.stack(angle, axis=1).reshape(hit.shape)
    astray = np.zeros(steps, dtype=bool) if area is None else (area.several_lanes | area.off_road)[:steps]
    astray = astray if junction is None else astray | junction[:steps]
    first = hit.argmax(axis=0)
    wide = np.where(astray[first // len(TTC_STEPS)], BEHIND_RAD, 0.0)
    seen = np.take_along_axis(angles, first[None], axis=0)[0]
    at_start = overlap(ego.boxes()[0], agents.boxes[0])
    counts = hit.any(axis=0) & ~at_start & ((seen < AHEAD_RAD) | (seen <= wide))
    return (0.0, int(first[counts].min() // len(TTC_STEPS))) if counts.any() else (1.0, None)


def relative_angle(ego: F64, boxes: F64) -> F64:
    """[T, N] rad, 0 ahead, pi behind: where the centres of boxes [T, N, 5] lie, seen from the ego's rear axle along its heading.

    ego: [T, 5], its boxes.
    """
    heading = np.stack([np.cos(ego[:, 2]), np.sin(ego[:, 2])], axis=1)
    axle = ego[:, :2] - REAR_AXLE * ego[:, 3:4] * heading
    d = boxes[..., :2] - axle[:, None]
    along = (d * heading[:, None]).sum(axis=-1)
    return np.arccos(np.clip(along / np.maximum(np.linalg.norm(d, axis=-1), 1e-9), -1.0, 1.0))
