"""Labels from boxes and futures, by rule: what a person would otherwise have to write, or a large model to guess.

Raw WOD-E2E has no text labels; scenes with boxes allow deterministic ones. Two kinds are kept apart. What describes *now*
(critical objects, explanation) uses boxes up to now, so an image can in principle show it. What announces the *plan* (behaviour,
navigation command) reads the ego's future: the behaviour is a target to learn, the command plays the role of WOD-E2E's `intent`,
a route that a navigation system knows in advance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import UnknownNameError
from robotics.driving.answer import Labels, Lateral, Longitudinal
from robotics.driving.prompt import Command
from robotics.driving.render import BRAKING_MPS2
from robotics.driving.scene import FUTURE_STEPS, VEHICLES, RoadUser, Scene, Window, to_ego, wrap
from robotics.driving.surroundings import Surroundings, surroundings

F64 = NDArray[np.float64]

NEARBY_M = 30.0
LEAD_M = 60.0
STANDING_MPS = 1.0
SPEED_RULE = 0.15
SPEED_FLOOR_MPS = 0.5
"""A change of speed counts from 15 %, and at least this much: at a crawl 15 % is noise."""
TURN_RAD = np.deg2rad(15.0)
CONFLICT_S = 5.0
SEEN_KINDS: tuple[RoadUser, ...] = ("emergency_vehicle", "cyclist", "pedestrian", "animal", "construction", "road_hazard")
"""Kinds of tracks that are critical objects by themselves, within NEARBY_M."""
UNKNOWN_WITHOUT_BOXES = ("critical_objects", "explanation")
"""Sections that nobody can tell from the ego's own motion."""


@dataclass(frozen=True, slots=True)
class Others:
    """Every other vehicle at one step, in the ego frame. N rows each.

    xy: [N, 2] m, centres; yaw: [N] rad; speed: [N] m/s; size: [N, 2] length and width; track_id: [N].
    """

    xy: F64
    yaw: F64
    speed: F64
    size: F64
    track_id: NDArray[np.int64]

    def velocity(self) -> F64:
        """[N, 2] m/s, along the heading."""
        return self.speed[:, None] * np.stack([np.cos(self.yaw), np.sin(self.yaw)], axis=1)


class Labeller:
    """Labels the windows of one scene. label(window) is deterministic."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def absent(self) -> tuple[str, ...]:
        """Sections that this scene does not tell: their labels are fillers, and nothing may be learned from them."""
        return () if self.scene.boxes else UNKNOWN_WITHOUT_BOXES

    def label(self, window: Window) -> Labels:
        """The answer's first three sections."""
        if not self.scene.boxes:
            return Labels(frozenset(), "", longitudinal(window), self.lateral(window))
        others = self.others(window)
        ego = self.scene.tracks[window.track_id]
        speed = current_speed(window)
        critical: set[str] = set()
        if len(others.xy) and float(np.linalg.norm(others.xy, axis=1).min()) < NEARBY_M:
            critical.add("nearby_vehicle")
        when = conflict_times(others, (ego.length_m, ego.width_m), speed)
        if np.isfinite(when).any():
            critical.add("conflicting_vehicle")
        for kind in SEEN_KINDS:
            xy = self.others(window, (kind,)).xy
            if len(xy) and float(np.linalg.norm(xy, axis=1).min()) < NEARBY_M:
                critical.add(kind)
        return Labels(
            critical_objects=frozenset(critical),
            explanation=self.explain(others, when, speed, ego.length_m, window.step),
            longitudinal=longitudinal(window),
            lateral=self.lateral(window),
        )

    # --- now ----------------------------------------------------------------------------------------------------------------

    def others(self, window: Window, kinds: tuple[RoadUser, ...] = VEHICLES) -> Others:
        """Everyone else of these kinds recorded at the window's step."""
        x, y, yaw, _ = self.scene.tracks[window.track_id].state(window.step)
        rows = [
            (*t.state(window.step), t.length_m, t.width_m, t.track_id)
            for t in self.scene.tracks.values()
            if t.kind in kinds and t.track_id != window.track_id and t.covers(window.step, window.step + 1)
        ]
        a = np.array(rows, dtype=np.float64).reshape(-1, 7)
        xy = to_ego(a[:, :2], (x, y, yaw)).astype(np.float64)
        return Others(xy, wrap(a[:, 2] - yaw).astype(np.float64), a[:, 3], a[:, 4:6], a[:, 6].astype(np.int64))

    def surroundings(self, window: Window) -> Surroundings:
        """What a picture shows of the others, for a teacher (`teacher`)."""
        others, lead = self.others(window), lead_of(self.others(window))
        brakes = lead is not None and self._braking(int(others.track_id[lead]), window.step)
        return surroundings(others.xy, others.yaw, others.size, self.scene.tracks[window.track_id].length_m, lead, brakes)

    def explain(self, others: Others, conflict_s: F64, speed: float, ego_length_m: float, step: int) -> str:
        """One short clause on the road ahead, one on the first conflict that is not with the lead; distances of two digits."""
        lead = lead_of(others)
        if lead is None:
            text = "standing, road ahead is free" if speed < STANDING_MPS else "road ahead is free"
        else:
            gap = others.xy[lead, 0] - (ego_length_m + others.size[lead, 0]) / 2
            gap_m = int(np.clip(np.floor(gap), 0, 99))
            if speed < STANDING_MPS and others.speed[lead] < STANDING_MPS:
                text = f"stopped behind lead {gap_m:02d} m"
            else:
                text = f"lead {gap_m:02d} m ahead at {int(np.clip(round(others.speed[lead]), 0, 99)):02d} m/s"
                text += ", braking" if self._braking(int(others.track_id[lead]), step) else ""
        first = int(np.argmin(conflict_s)) if np.isfinite(conflict_s).any() else None
        if first is None:
            return text
        if first == lead:
            return f"{text}; closing in {int(conflict_s[first])} s"
        side = "ahead" if abs(others.xy[first, 1]) < 1.5 else "left" if others.xy[first, 1] > 0 else "right"
        return f"{text}; conflict {side} in {int(conflict_s[first])} s"

    def _braking(self, track_id: int, step: int) -> bool:
        """The rule by which the renderer lights brake lights, so that what is said can be seen."""
        track = self.scene.tracks[track_id]
        if not track.covers(step - 3, step + 1):
            return False
        lost = track.state(step)[3] - track.state(step - 3)[3]
        return lost / (3 * self.scene.dt_s) < BRAKING_MPS2

    # --- the plan -----------------------------------------------------------------------------------------------------------

    def lateral(self, window: Window) -> Lateral:
        """A turn by heading change, else a lane change by the lane bounds that the future path crosses at a flat angle."""
        turn = heading_change(window)
        if abs(turn) >= TURN_RAD:
            return "turn left" if turn > 0 else "turn right"
        if not self.scene.lanes:
            return lateral_by_path(window)
        x, y, yaw, _ = self.scene.tracks[window.track_id].state(window.step)
        path = np.concatenate([np.zeros((1, 2)), window.future[4::5]]).astype(np.float64)
        crossed = self._crossings(_to_scene(path, (x, y, yaw)))
        return "go straight" if crossed == 0 else "change lane left" if crossed > 0 else "change lane right"

    def _crossings(self, path: F64) -> int:
        """-1, 0 or 1: whether `path` [K, 2] ends clearly to the right or left of a bound that it crosses along the lane."""
        start, along = self._bounds
        length = np.linalg.norm(along, axis=1)
        near = (np.linalg.norm(start + along / 2 - path.mean(0), axis=1) < 100.0 + length / 2) & (length > 1e-3)
        start, along, length = start[near], along[near], length[near]
        moves = np.diff(path, axis=0)
        rel = path[:-1, None] - start  # [K-1, S, 2]
        den = _cross(moves[:, None], along)
        aligned = (moves[:, None] * along).sum(-1)
        flat = aligned > 0.98 * length * np.linalg.norm(moves, axis=1)[:, None]  # within 11 degrees, same way
        with np.errstate(divide="ignore", invalid="ignore"):
            t = -_cross(rel, along) / den
            u = -_cross(rel, moves[:, None]) / den
        hit = flat & (t >= 0) & (t < 1) & (u >= 0) & (u < 1)
        side_of_end = -_cross(path[-1] - start, along) / length  # [S], metres to the left of the bound
        side_of_start = -_cross(path[0] - start, along) / length
        clear = np.abs(side_of_end - side_of_start) > 1.5
        sides = np.sign(side_of_end[hit.any(axis=0) & clear & (np.abs(side_of_end) > 0.6)])
        return int(np.sign(sides.sum()))

    @cached_property
    def _bounds(self) -> tuple[F64, F64]:
        """All segments of the lane bounds, scene frame: starts [S, 2] and vectors [S, 2]."""
        lines = [np.asarray(b, dtype=np.float64) for lane in self.scene.lanes for b in lane if len(b) > 1]
        if not lines:
            return np.zeros((0, 2)), np.zeros((0, 2))
        return np.concatenate([b[:-1] for b in lines]), np.concatenate([np.diff(b, axis=0) for b in lines])


def _cross(a: F64, b: F64) -> F64:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _to_scene(xy: F64, pose: tuple[float, float, float]) -> F64:
    c, s = np.cos(pose[2]), np.sin(pose[2])
    return np.stack([c * xy[:, 0] - s * xy[:, 1], s * xy[:, 0] + c * xy[:, 1]], axis=1) + np.array(pose[:2])


def current_speed(window: Window) -> float:
    """m/s over the last 0.2 s, from positions."""
    return float(np.linalg.norm(window.history[-1] - window.history[-3])) / (2 * window.scene.dt_s)


def final_speed(window: Window) -> float:
    """m/s over the last 0.5 s of the future."""
    return float(np.linalg.norm(window.future[-1] - window.future[-6])) / (5 * window.scene.dt_s)


def heading_change(window: Window) -> float:
    """Heading at the end of the future relative to now, rad; 0 for a vehicle that hardly moves, whose heading is noise."""
    if float(np.linalg.norm(window.future[-1])) < 3.0:
        return 0.0
    return float(wrap(np.asarray(np.median(window.future_yaw[-5:]))))


def longitudinal(window: Window) -> Longitudinal:
    """stop below 1 m/s at 5 s; else by 15 % of the present speed, at least 0.5 m/s."""
    now, end = current_speed(window), final_speed(window)
    if end < STANDING_MPS:
        return "stop"
    margin = max(SPEED_RULE * now, SPEED_FLOOR_MPS)
    return "accelerate" if end > now + margin else "decelerate" if end < now - margin else "keep speed"


def lateral_by_path(window: Window) -> Lateral:
    """A lane change without knowing the lanes: 2 to 6 m to one side, and the heading comes back to at most half its largest change.

    A bend that goes on does not come back; two bends that cancel within 5 s are mistaken for a lane change.
    """
    yaw, aside = np.asarray(window.future_yaw, dtype=np.float64), float(window.future[-1, 1])
    largest, last = float(np.abs(yaw).max()), abs(float(np.median(yaw[-5:])))
    if float(np.linalg.norm(window.future[-1])) < 10.0 or not 2.0 < abs(aside) < 6.0 or last > largest / 2:
        return "go straight"
    return "change lane left" if aside > 0 else "change lane right"


def command_of(window: Window) -> Command:
    """The route hint that was recorded with the window, else one read from its future. Raises UnknownNameError for another word."""
    recorded = window.scene.ego.command if window.scene.ego is not None else None
    if recorded is None:
        return navigation_command(window)
    for known in get_args(Command):
        if recorded == known:
            return known
    raise UnknownNameError("navigation command", recorded, get_args(Command))


def navigation_command(window: Window) -> Command:
    """The route hint: where the recorded future turns by 15 degrees or more. It stands in for WOD-E2E's `intent`."""
    turn = heading_change(window)
    return "GO_STRAIGHT" if abs(turn) < TURN_RAD else "GO_LEFT" if turn > 0 else "GO_RIGHT"


def lead_of(others: Others) -> int | None:
    """Row of the nearest vehicle straight ahead, within 60 m, that faces the same way."""
    ahead = (others.xy[:, 0] > 0) & (others.xy[:, 0] < LEAD_M) & (np.abs(others.xy[:, 1]) < 1.8) & (np.abs(others.yaw) < np.pi / 4)
    rows = ahead.nonzero()[0]
    return int(rows[np.argmin(others.xy[rows, 0])]) if rows.size else None


def conflict_times(others: Others, ego_size: tuple[float, float], ego_speed: float) -> F64:
    """When each other vehicle's box first meets the ego's if all go on at constant velocity: [N] s, inf for not within 5 s.

    Oriented boxes by the separating-axis test on the two axes of each box, every 0.1 s.
    """
    n = len(others.xy)
    when = np.full(n, np.inf)
    t = np.arange(0, FUTURE_STEPS + 1) * (CONFLICT_S / FUTURE_STEPS)
    relative = others.velocity() - np.array([ego_speed, 0.0])
    centre = others.xy[:, None] + relative[:, None] * t[:, None]  # [N, T, 2]
    half_e, half_o = np.array(ego_size) / 2, others.size / 2
    reach = np.linalg.norm(half_e) + np.linalg.norm(half_o, axis=1)
    for i in (np.linalg.norm(centre, axis=2).min(axis=1) < reach).nonzero()[0] if n else ():
        c, s = abs(np.cos(others.yaw[i])), abs(np.sin(others.yaw[i]))
        turn = np.array([[c, s], [s, c]])  # |rotation| between the two boxes
        forward = np.array([np.cos(others.yaw[i]), np.sin(others.yaw[i])])
        own = np.stack([centre[i] @ forward, _cross(forward, centre[i])], axis=1)  # centres along the other's axes
        apart = (np.abs(centre[i]) > half_e + turn @ half_o[i]).any(1) | (np.abs(own) > half_o[i] + turn @ half_e).any(1)
        if not apart.all():
            when[i] = t[int(np.argmin(apart))]
    return when
