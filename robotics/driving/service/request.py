"""What a vehicle asks for, `plan/1`.

Units: m, s, rad; the ego frame of the sensor stamp, x forward, y left, origin at the rear axle. Values that no vehicle can have are
let in where they have the right form: they are answered with REJECTED and a stop, not with an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat

from edge.core.config import Frozen
from robotics.driving.prompt import Command, EgoHistory
from robotics.driving.safety.ego import Ego
from robotics.driving.safety.profile import VehicleProfile


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character") from None
    return text


Name = Annotated[str, Field(max_length=200, strict=True), AfterValidator(_whole)]

MOST_BOXES = 512


class EgoState(Frozen):
    """Motion now, as the vehicle's own sensors have it. Without it, the history's last points are taken."""

    v_mps: float
    a_mps2: float = 0.0
    yaw_rate_radps: float = 0.0


class Box(Frozen):
    """Another road user, taken to go on straight at its speed. x_m, y_m: its centre; v_mps: along its yaw."""

    x_m: FiniteFloat
    y_m: FiniteFloat
    yaw_rad: FiniteFloat = 0.0
    length_m: Annotated[FiniteFloat, Field(gt=0, le=50)] = 4.5
    width_m: Annotated[FiniteFloat, Field(gt=0, le=50)] = 1.8
    v_mps: Annotated[FiniteFloat, Field(ge=-100, le=100)] = 0.0


class PlanFields(Frozen):
    """A request but for its images."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    schema_: Literal["plan/1"] = Field(default="plan/1", alias="schema")
    request_id: Name | None = None
    sensor_stamp_ns: Annotated[int, Field(ge=0, lt=1 << 63, strict=True)] | None = None
    """When the images and the motion were taken, nanoseconds since 1970. Without it, they are as old as the request."""
    nav_command: Command
    history: EgoHistory
    ego: EgoState | None = None
    deadline_ms: Annotated[float, Field(ge=0, le=1e9, strict=True)] | None = None
    """From the arrival of the request. There is an answer by then, if need be a stop."""
    n_rollouts: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    seed: Annotated[int, Field(ge=0, lt=1 << 62, strict=True)] = 0
    sections: list[Name] | None = None
    vehicle_profile: VehicleProfile = VehicleProfile()
    boxes: Annotated[list[Box], Field(max_length=MOST_BOXES)] = Field(default_factory=list)

    def motion(self) -> Ego:
        """The ego as the checks take it."""
        points, dt = self.history.points, self.history.dt_s
        past = tuple(((n - len(points) + 1) * dt, p.x_m, p.y_m) for n, p in enumerate(points))
        if self.ego is not None:
            return Ego(self.ego.v_mps, self.ego.a_mps2, self.ego.yaw_rate_radps, past)
        accel, _, yaw_rate = self.history.motion()
        return Ego(points[-1].v_mps, accel, yaw_rate, past)

    def others(self) -> NDArray[np.float64]:
        """[N, 6], see `safety.collision`."""
        rows = [(b.x_m, b.y_m, b.yaw_rad, b.length_m, b.width_m, b.v_mps) for b in self.boxes]
        return np.array(rows, dtype=np.float64).reshape(-1, 6)


class PlanRequest(PlanFields):
    """A request to the library. images: of the cameras front left, front and front right: files or uint8 arrays [H, W, 3]."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    images: tuple[Any, ...]
    strategy: Name = "self-spec"
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the strategy."""
