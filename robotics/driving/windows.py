"""Planning problems cut out of a scene: 2 s of history, 5 s of future, at every half second of every track that moves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge.core.errors import InputError
from robotics.driving.scene import F32, FUTURE_STEPS, HISTORY_STEPS, Scene, Track, Window, to_ego, wrap


def windows(scene: Scene, stride_steps: int = 5, min_move_m: float = 5.0) -> Iterator[Window]:
    """Every window of `scene`, by track and then by step.

    A track's windows start where its first 2 s are complete and follow at `stride_steps`. A window counts when the straight
    line from its first to its last recorded position (7 s apart) is longer than `min_move_m`: parked and waiting vehicles
    have nothing to plan. Raises InputError for a stride below 1.
    """
    if stride_steps < 1:
        raise InputError(f"stride_steps {stride_steps}: windows need a stride of at least 1 step; use 5 for half a second")
    for track in scene.tracks.values():
        for step in range(track.first + HISTORY_STEPS, track.first + len(track) - FUTURE_STEPS, stride_steps):
            i = step - track.first
            if np.linalg.norm(track.xy[i + FUTURE_STEPS] - track.xy[i - HISTORY_STEPS]) > min_move_m:
                yield _cut(scene, track, step)


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

    tracks = {
        k: Track(k, t.first, reflected(t.xy), wrap(-t.yaw), t.speed.copy(), t.length_m, t.width_m) for k, t in scene.tracks.items()
    }
    lanes = tuple((reflected(right), reflected(left)) for left, right in scene.lanes)
    name = scene.name.removesuffix(MIRRORED) if scene.name.endswith(MIRRORED) else scene.name + MIRRORED
    return Scene(name=name, source=scene.source, lanes=lanes, tracks=tracks, dt_s=scene.dt_s)
