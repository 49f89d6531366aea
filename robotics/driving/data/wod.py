"""WOD-E2E: one record is one frame, with eight cameras, 4 s of past and, but for the test set, 5 s of future at 4 Hz.

Source: waymo-open-dataset, protos/end_to_end_driving_data.proto. The frame of reference is the planner's own (x forward, y left,
origin at the middle of the rear axle at the frame's time). There are no boxes and no lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicHermiteSpline, CubicSpline

from edge.core.errors import InputError
from robotics.driving.damage import Damage
from robotics.driving.data.motion import F64, FUTURE_S, PAST_S, headings, track
from robotics.driving.data.pictures import ordered
from robotics.driving.data.tfrecord import read_records
from robotics.driving.data.wod_proto import CAMERA_NAMES, INTENTS, DecodeError, message
from robotics.driving.scene import HISTORY_STEPS, Ego, Scene

RATE_HZ = 4
PAST, FUTURE = 16, 20
"""Points of the past, the last one now, and of the future, the first one 0.25 s ahead."""

MOST = 2000.0
"""No position (m), velocity or acceleration of a frame is larger; what is has been damaged."""

EGO_SIZE_M = (5.2, 2.1)
"""Length and width of the vehicles that recorded the set, about; nothing in it says."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A camera. intrinsic: f_u, f_v, c_u, c_v, k1, k2, p1, p2, k3 (pixels of the full picture).

    extrinsic: [4, 4], camera to ego.
    """

    intrinsic: tuple[float, ...]
    extrinsic: F64
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class E2EFrame:
    """A record, checked but with its pictures still encoded.

    past: [16, 6], x y m, vx vy m/s, ax ay m/s2, from -3.75 s to now. future: [20, 2] m, from 0.25 to 5 s, or None.
    intent: the planner's command, or None where it is UNKNOWN. rated: trajectories [T, 2] at 4 Hz with scores in 0..10.
    jpegs: by camera name; calibrations as well.
    """

    name: str
    timestamp_us: int
    past: F64
    future: F64 | None
    intent: str | None
    rated: tuple[tuple[F64, float], ...]
    jpegs: Mapping[str, bytes] = field(repr=False)
    calibrations: Mapping[str, Calibration] = field(repr=False)


def frames(path: str | Path) -> Iterator[E2EFrame | Damage]:
    """Frames of a TFRecord shard, and a Damage with the byte offset for everything that is none. Never raises."""
    path = Path(path)
    for record in read_records(path):
        if isinstance(record, Damage):
            yield record
            continue
        try:
            yield parse(record.payload)
        except InputError as e:
            yield Damage(f"{path.name}@{record.offset}", str(e))


def scenes(path: str | Path) -> Iterator[Scene | Damage]:
    """The same as scenes."""
    for frame in frames(path):
        if isinstance(frame, Damage):
            yield frame
            continue
        try:
            yield scene(frame)
        except InputError as e:
            yield Damage(frame.name, str(e))


def parse(payload: bytes) -> E2EFrame:
    """One serialized E2EDFrame. Raises InputError whose text starts with the rule that the record breaks."""
    made = message("E2EDFrame")()
    try:
        made.ParseFromString(payload)
    except DecodeError as e:
        raise InputError(f"not an E2EDFrame: {e}") from None
    frame = made.frame
    if not frame.context.name:
        raise InputError("frame has no name: frame.context.name is empty")
    name = frame.context.name
    return E2EFrame(
        name=name,
        timestamp_us=frame.timestamp_micros,
        past=_past(made.past_states, name),
        future=_future(made.future_states, name),
        intent=_intent(made.intent, name),
        rated=_rated(made.preference_trajectories, name),
        jpegs={_camera(i.name, name): i.image for i in frame.images},
        calibrations={_camera(c.name, name): _calibration(c, name) for c in frame.context.camera_calibrations},
    )


def scene(frame: E2EFrame) -> Scene:
    """A frame as a scene of one track: its step HISTORY_STEPS is now. Without a future the track ends there.

    At the set's own times positions are those of the record. Between them the past follows cubics through recorded positions and
    velocities, the future a cubic spline that leaves with the present velocity. Raises InputError for a camera that is missing.
    """
    t = np.arange(1 - PAST, 1) / RATE_HZ
    past = CubicHermiteSpline(t, frame.past[:, :2], frame.past[:, 2:4])
    xy, v = [past(PAST_S)], [past(PAST_S, 1)]
    if frame.future is not None:
        knots = np.concatenate([np.zeros((1, 2)), frame.future])
        ends: Any = ((1, frame.past[-1, 2:4]), "not-a-knot")
        future = CubicSpline(np.arange(FUTURE + 1) / RATE_HZ, knots, bc_type=ends)
        xy, v = [*xy, future(FUTURE_S)], [*v, future(FUTURE_S, 1)]
    yaw = headings(np.concatenate(v), known=0.0, where=HISTORY_STEPS)
    ego = track(0, 0, np.concatenate(xy), yaw, EGO_SIZE_M)
    recording, _, moment = frame.name.rpartition("-")
    return Scene(
        name=recording or frame.name,
        source="wod-e2e",
        lanes=(),
        tracks={0: ego},
        boxes=False,
        ego=Ego(
            track_id=0,
            step=HISTORY_STEPS,
            frame=moment,
            cameras=ordered(dict(frame.jpegs), frame.name),
            command=frame.intent,
            rated=tuple((np.asarray(xy, np.float32), score) for xy, score in frame.rated),
            stamp_ns=frame.timestamp_us * 1000,
        ),
    )


# --- fields -----------------------------------------------------------------------------------------------------------------


def _columns(states: Any, keys: tuple[str, ...], what: str, name: str) -> F64:
    """[n, len(keys)] of packed fields that must agree in length and be finite."""
    columns = [np.array(getattr(states, k), dtype=np.float64) for k in keys]
    lengths = {len(c) for c in columns}
    if len(lengths) > 1:
        raise InputError(f"{what} states differ in length: {name}: {dict(zip(keys, map(len, columns), strict=True))}")
    out = np.stack(columns, axis=1)
    if not np.isfinite(out).all():
        raise InputError(f"{what} states are not finite: {name}: point {int((~np.isfinite(out).all(axis=1)).argmax())}")
    if len(out) and np.abs(out).max() > MOST:
        raise InputError(f"{what} states are out of range: {name}: {np.abs(out).max():.3g}; metres and seconds stay below {MOST:g}")
    return out


def _past(states: Any, name: str) -> F64:
    out = _columns(states, ("pos_x", "pos_y", "vel_x", "vel_y", "accel_x", "accel_y"), "past", name)
    if len(out) != PAST:
        raise InputError(f"past states must be {PAST}: {name}: got {len(out)}")
    if np.abs(out[-1, :2]).max() > 0.05:
        raise InputError(f"past states must end at the origin: {name}: got {out[-1, :2].tolist()}")
    return out


def _future(states: Any, name: str) -> F64 | None:
    out = _columns(states, ("pos_x", "pos_y"), "future", name)
    if len(out) == 0:
        return None
    if len(out) != FUTURE:
        raise InputError(f"future states must be {FUTURE} or none: {name}: got {len(out)}")
    return out


def _intent(number: int, name: str) -> str | None:
    if not 0 <= number < len(INTENTS):
        raise InputError(f"intent is not one of {', '.join(INTENTS)}: {name}: got {number}")
    return INTENTS[number] if number else None


def _rated(trajectories: Any, name: str) -> tuple[tuple[F64, float], ...]:
    """Those that people scored; -1 or an empty trajectory means that nobody did."""
    out = []
    for t in trajectories:
        xy, score = _columns(t, ("pos_x", "pos_y"), "rated", name), float(t.preference_score)
        if len(xy) and t.HasField("preference_score") and score >= 0:
            if not score <= 10:
                raise InputError(f"preference scores are 0 to 10: {name}: got {score}")
            out.append((xy, score))
    return tuple(out)


def _camera(number: int, name: str) -> str:
    if not 0 <= number < len(CAMERA_NAMES):
        raise InputError(f"camera is not known: {name}: got number {number}")
    return CAMERA_NAMES[number]


def _calibration(c: Any, name: str) -> Calibration:
    matrix = np.array(c.extrinsic.transform, dtype=np.float64)
    if matrix.size != 16 or len(c.intrinsic) != 9:
        raise InputError(f"camera calibration must have 9 and 16 numbers: {name}: got {len(c.intrinsic)} and {matrix.size}")
    return Calibration(tuple(c.intrinsic), matrix.reshape(4, 4), c.width, c.height)
