"""Planning problems cut out of a scene: 2 s of history, 5 s of future, at every half second of every track that moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edge.core.errors import InputError
from robotics.driving.scene import F32, FUTURE_STEPS, HISTORY_STEPS, U8, VEHICLES, Cameras, Scene, Track, Window, to_ego, wrap

MOVE_M = 5.0
"""A window counts when the ego gets further than this in its 7 s: parked and waiting vehicles have nothing to plan."""

BACKWARDS_MPS = -0.5
"""A window in which the ego is slower than this is none: the planner's answers know no reverse gear."""

NO_HISTORY = "less than 2 s of history is recorded"
NO_FUTURE = "less than 5 s of future is recorded"
REVERSING = "the ego drives backwards"
NOT_MOVING = "the ego hardly moves in 7 s"


def windows(scene: Scene, stride_steps: int = 5, min_move_m: float = MOVE_M) -> Iterator[Window]:
    """Every window of `scene`, by track and then by step.

    A track's windows start where its first 2 s are complete and follow at `stride_steps`. A window counts when the straight
    line from its first to its last recorded position (7 s apart) is longer than `min_move_m` (0: always) and it does not drive
    backwards. Raises InputError for a stride below 1.
    """
    for track, step, why_not in candidates(scene, stride_steps, min_move_m):
        if not why_not:
            yield _cut(scene, track, step)


def candidates(scene: Scene, stride_steps: int = 5, min_move_m: float = MOVE_M) -> Iterator[tuple[Track, int, str]]:
    """Every moment that `windows` looks at: (track, step, why it is no window or "").

    Those of a vehicle lie on the stride that its first possible window is on; a recording with real cameras has one.
    """
    if stride_steps < 1:
        raise InputError(f"stride_steps {stride_steps}: windows need a stride of at least 1 step; use 5 for half a second")
    if scene.ego is not None:
        track = scene.tracks[scene.ego.track_id]
        yield track, scene.ego.step, _why_not(track, scene.ego.step, min_move_m)
        return
    for track in scene.tracks.values():
        if track.kind in VEHICLES:
            start = track.first + HISTORY_STEPS
            for step in range(start - HISTORY_STEPS // stride_steps * stride_steps, track.first + len(track), stride_steps):
                yield track, step, _why_not(track, step, min_move_m)


def _why_not(track: Track, step: int, min_move_m: float) -> str:
    if not track.covers(step - HISTORY_STEPS, step + 1):
        return NO_HISTORY
    if not track.covers(step, step + FUTURE_STEPS + 1):
        return NO_FUTURE
    i = step - track.first
    if track.speed[i - HISTORY_STEPS : i + FUTURE_STEPS + 1].min() < BACKWARDS_MPS:
        return REVERSING
    moved = np.linalg.norm(track.xy[i + FUTURE_STEPS] - track.xy[i - HISTORY_STEPS])
    return "" if moved > min_move_m or min_move_m <= 0 else NOT_MOVING


def window_at(scene: Scene, track: int, step: int) -> Window:
    """The window of one track at one step, however little it moves. Raises InputError where the recording does not cover it."""
    if track not in scene.tracks:
        known = ", ".join(map(str, sorted(scene.tracks)[:12])) + (", ..." if len(scene.tracks) > 12 else "")
        raise InputError(f"{scene.name}: no track {track}; choose one of {known or 'none (the scene is empty)'}")
    t = scene.tracks[track]
    if not t.covers(step - HISTORY_STEPS, step + FUTURE_STEPS + 1):
        low, high = t.first + HISTORY_STEPS, t.first + len(t) - 1 - FUTURE_STEPS
        rule = f"choose a step from {low} to {high}" if low <= high else f"its {len(t)} steps are too few, choose another track"
        raise InputError(
            f"{scene.name}: track {track} at step {step} lacks {HISTORY_STEPS} steps of history or {FUTURE_STEPS} of future; {rule}"
        )
    return _cut(scene, t, step)


def _cut(scene: Scene, track: Track, step: int) -> Window:
    i = step - track.first
    x, y, yaw, _ = track.state(step)
    past, future = slice(i - HISTORY_STEPS, i + 1), slice(i + 1, i + FUTURE_STEPS + 1)
    return Window(
        scene=scene,
        track_id=track.track_id,
        step=step,
        history=to_ego(track.xy[past], (x, y, yaw)),
        history_yaw=wrap(track.yaw[past] - yaw),
        history_speed=track.speed[past].copy(),
        future=to_ego(track.xy[future], (x, y, yaw)),
        future_yaw=wrap(track.yaw[future] - yaw),
    )


MIRRORED = "~mirror"
"""Ends the name of a mirrored scene, so that no window of it shares a name with its original."""


def mirror(scene: Scene) -> Scene:
    """The scene reflected left to right: y and yaw negated, left and right bounds exchanged, track ids kept.

    The handedness of the frame stays; the traffic drives on the other side. Mirroring twice gives the scene back.
    """
    flip = np.array([1.0, -1.0], dtype=np.float32)

    def reflected(xy: F32) -> F32:
        return xy * flip

    tracks = {k: replace(t, xy=reflected(t.xy), yaw=wrap(-t.yaw), speed=t.speed.copy()) for k, t in scene.tracks.items()}
    lanes = tuple((reflected(right), reflected(left)) for left, right in scene.lanes)
    name = scene.name.removesuffix(MIRRORED) if scene.name.endswith(MIRRORED) else scene.name + MIRRORED
    ego = scene.ego and replace(
        scene.ego,
        cameras=_Reflected(scene.ego.cameras),
        command={"GO_LEFT": "GO_RIGHT", "GO_RIGHT": "GO_LEFT"}.get(scene.ego.command or "", scene.ego.command),
        rated=tuple((reflected(xy), score) for xy, score in scene.ego.rated),
    )
    return replace(scene, name=name, lanes=lanes, tracks=tracks, ego=ego)


@dataclass(frozen=True, slots=True)
class _Reflected:
    """Pictures seen in a mirror: columns turned round, and the left camera takes the place of the right one."""

    cameras: Cameras

    def images(self, size: tuple[int, int]) -> U8:
        return np.ascontiguousarray(self.cameras.images(size)[::-1, :, ::-1])


def covered(scene: Scene) -> bool:
    """Whether the moment of a recording with cameras has its 5 s of future."""
    ego = scene.ego
    return ego is not None and scene.tracks[ego.track_id].covers(ego.step, ego.step + FUTURE_STEPS + 1)


def present(scene: Scene) -> Window:
    """The moment of a recording with cameras, its future as far as it is recorded. Raises InputError without 2 s of history."""
    assert scene.ego is not None
    track, step = scene.tracks[scene.ego.track_id], scene.ego.step
    if not track.covers(step - HISTORY_STEPS, step + 1):
        raise InputError(f"{NO_HISTORY}: {scene.name}: {scene.ego.frame}")
    return _cut(scene, track, step)
