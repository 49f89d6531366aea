"""What a driving scene is, whatever it was read from. Units: metres, seconds, radians; steps of `dt_s`.

The scene frame is any fixed right-handed frame. The ego frame is ISO 8855 at the ego's recorded reference point: x forward,
y left, yaw counter-clockwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

CAMERAS = ("front_left", "front", "front_right")
"""Order of the three cameras everywhere: in prompts, in arrays, on the command line."""


@dataclass(frozen=True, slots=True)
class Track:
    """One road user over consecutive steps `first .. first + T - 1`.

    xy: [T, 2] m, scene frame; yaw: [T] rad; speed: [T] m/s along the heading; length, width in metres.
    """

    track_id: int
    first: int
    xy: F32
    yaw: F32
    speed: F32
    length_m: float
    width_m: float

    def __len__(self) -> int:
        return self.xy.shape[0]

    def covers(self, start: int, stop: int) -> bool:
        """Whether every step of `start .. stop - 1` is recorded."""
        return self.first <= start and stop <= self.first + len(self)

    def state(self, step: int) -> tuple[float, float, float, float]:
        """(x, y, yaw, speed) at `step`."""
        i = step - self.first
        return float(self.xy[i, 0]), float(self.xy[i, 1]), float(self.yaw[i]), float(self.speed[i])


@dataclass(frozen=True, slots=True)
class Scene:
    """Lanes and tracks of one recording.

    lanes: pairs (left bound [n, 2], right bound [m, 2]), metres, scene frame.
    """

    name: str
    source: str
    lanes: tuple[tuple[F32, F32], ...]
    tracks: Mapping[int, Track]
    dt_s: float = 0.1


HISTORY_STEPS = 20
FUTURE_STEPS = 50
"""A window has 2 s of history and 5 s of future at 10 Hz."""


@dataclass(frozen=True, slots=True)
class Window:
    """One planning problem: the ego track of a scene at one step.

    history: [21, 2] m ego frame, steps t-20 .. t (the last is the origin); history_yaw: [21] rad; history_speed: [21] m/s.
    future: [50, 2] m ego frame, steps t+1 .. t+50; future_yaw: [50] rad.
    """

    scene: Scene
    track_id: int
    step: int
    history: F32
    history_yaw: F32
    history_speed: F32
    future: F32
    future_yaw: F32

    @property
    def name(self) -> str:
        return f"{self.scene.name}:{self.track_id}:{self.step}"


def to_ego(xy: NDArray[np.floating], pose: tuple[float, float, float]) -> F32:
    """Scene-frame points [..., 2] into the frame of `pose` (x, y, yaw)."""
    x, y, yaw = pose
    c, s = np.cos(yaw), np.sin(yaw)
    d = np.asarray(xy, dtype=np.float64) - np.array([x, y])
    return np.stack([c * d[..., 0] + s * d[..., 1], -s * d[..., 0] + c * d[..., 1]], axis=-1).astype(np.float32)


def wrap(angle: NDArray[np.floating]) -> F32:
    """Angles into (-pi, pi]."""
    return (np.pi - np.mod(np.pi - np.asarray(angle, dtype=np.float64), 2 * np.pi)).astype(np.float32)
