"""What a driving scene is, whatever it was read from. Units: metres, seconds, radians; steps of `dt_s`.

The scene frame is any fixed right-handed frame. The ego frame is ISO 8855 at the ego's recorded reference point: x forward,
y left, yaw counter-clockwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

RoadUser = Literal["vehicle", "emergency_vehicle", "cyclist", "pedestrian", "animal", "construction", "road_hazard"]
"""What a track is. The last two are things in the way: cones and barriers, debris."""

VEHICLES: tuple[RoadUser, ...] = ("vehicle", "emergency_vehicle")
"""Kinds of tracks that drive."""

CAMERAS = ("front_left", "front", "front_right")
"""Order of the three cameras everywhere: in prompts, in arrays, on the command line."""


@dataclass(frozen=True, slots=True)
class Track:
    """One road user over consecutive steps `first .. first + T - 1`.

    xy: [T, 2] m, scene frame; yaw: [T] rad; speed: [T] m/s along the heading; length, width in metres. Only vehicles are driven.
    """

    track_id: int
    first: int
    xy: F32
    yaw: F32
    speed: F32
    length_m: float
    width_m: float
    kind: RoadUser = "vehicle"

    def __len__(self) -> int:
        return self.xy.shape[0]

    def covers(self, start: int, stop: int) -> bool:
        """Whether every step of `start .. stop - 1` is recorded."""
        return self.first <= start and stop <= self.first + len(self)

    def state(self, step: int) -> tuple[float, float, float, float]:
        """(x, y, yaw, speed) at `step`."""
        i = step - self.first
        return float(self.xy[i, 0]), float(self.xy[i, 1]), float(self.yaw[i]), float(self.speed[i])


class Cameras(Protocol):
    """Real camera pictures of one moment, decoded when they are asked for."""

    def images(self, size: tuple[int, int]) -> U8:
        """uint8 [3, H, W, 3], RGB, in the order of CAMERAS, resized to `size` (H, W).

        Raises InputError for a picture that is missing or broken.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ego:
    """The vehicle that recorded a scene, at the one moment its cameras show: no other track and no other step is planned for.

    frame: the moment's name within the recording; stamp_ns: its time on the recording's clock. command: the route hint that was
    recorded with it ("GO_LEFT", ...), if any. rated: trajectories ([T, 2] m, ego frame, 4 Hz) with people's scores,
    0 to 10 (WOD-E2E).
    """

    track_id: int
    step: int
    frame: str
    cameras: Cameras
    command: str | None = None
    rated: tuple[tuple[F32, float], ...] = ()
    stamp_ns: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """Lanes and tracks of one recording.

    lanes: pairs (left bound [n, 2], right bound [m, 2]), metres, scene frame. ego: of a recording with real cameras; without one
    pictures are painted and any vehicle may be driven. boxes: whether the others around were recorded at all.
    """

    name: str
    source: str
    lanes: tuple[tuple[F32, F32], ...]
    tracks: Mapping[int, Track]
    dt_s: float = 0.1
    ego: Ego | None = None
    boxes: bool = True


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
        if self.scene.ego is not None:
            return f"{self.scene.name}:{self.scene.ego.frame}"
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
