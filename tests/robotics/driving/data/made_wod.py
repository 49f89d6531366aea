"""WOD-E2E shards written here, in the official layout."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from robotics.driving.data.tfrecord import write_records
from robotics.driving.data.wod_proto import message

SPEED, ACCEL = 8.0, 1.0


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", quality=95)
    return out.getvalue()


def position(t: np.ndarray) -> np.ndarray:
    """Accelerating straight on: [n, 2] m."""
    return np.stack([SPEED * t + ACCEL * t * t / 2, np.zeros_like(t)], axis=1)


def e2ed_frame(name: str = "segment-007", *, future: bool = True, intent: int = 1, rated: bool = False, turn: float = 0.0):
    """One E2EDFrame. turn: metres to the left at 5 s, growing with the square of time."""
    f = message("E2EDFrame")(intent=intent)
    f.frame.context.name = name
    f.frame.timestamp_micros = 1_700_000_000_000_000
    past, ahead = np.arange(-15, 1) / 4, np.arange(1, 21) / 4
    _fill(f.past_states, position(past), np.stack([SPEED + ACCEL * past, 0 * past], 1), np.tile([ACCEL, 0.0], (16, 1)))
    if future:
        xy = position(ahead) + np.stack([0 * ahead, turn * (ahead / 5) ** 2], axis=1)
        _fill(f.future_states, xy)
        f.future_states.pos_z.extend(0 * ahead)
    for camera in range(1, 9):
        f.frame.images.add(name=camera, image=jpeg((25 * camera, 10, 10)))
        c = f.frame.context.camera_calibrations.add(name=camera, width=64, height=48, intrinsic=[50.0, 50, 32, 24, 0, 0, 0, 0, 0])
        c.extrinsic.transform.extend(np.eye(4).ravel())
    for score, speed in ((9.0, 8.0), (6.0, 5.0), (-1.0, 0.0)) if rated else ():
        _fill(f.preference_trajectories.add(preference_score=score), np.stack([speed * ahead, 0 * ahead], axis=1))
    return f


def _fill(states, xy: np.ndarray, velocity: np.ndarray | None = None, accel: np.ndarray | None = None) -> None:
    for keys, values in ((("pos_x", "pos_y"), xy), (("vel_x", "vel_y"), velocity), (("accel_x", "accel_y"), accel)):
        if values is not None:
            for key, column in zip(keys, values.T, strict=True):
                getattr(states, key).extend(column.tolist())


def shard(path: Path, frames: list | None = None) -> Path:
    """Two frames by default."""
    frames = frames if frames is not None else [e2ed_frame("one-003"), e2ed_frame("two-110", turn=6.0, intent=2)]
    write_records(path, [f.SerializeToString() for f in frames])
    return path
