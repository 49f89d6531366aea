"""What the planner is told: a fixed line, the cameras, then numbers of constant width in a constant order.

Static text comes first and the images second: a prompt can be reused up to its first changed token, and numbers change at
every frame, as the images do. About 130 tokens where digits, signs and points are single ones.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, ValidationError

from edge.core.config import Frozen, explain
from edge.core.errors import InputError, UnknownNameError
from robotics.driving import baselines
from robotics.driving.scene import Window, wrap

IMAGE = "<image>"
"""Stands once for the three cameras, in the order of `scene.CAMERAS`."""

Command = Literal["GO_STRAIGHT", "GO_LEFT", "GO_RIGHT"]
"""Route hint, the words of WOD-E2E's `intent`."""

TASK = "Drive. Name critical objects, explain, choose a behavior, plan 5 seconds."

POINTS = 5
MAX_M = 99.9
MAX_MPS = 99.9


class HistoryPoint(Frozen):
    """Where the ego was, in the ego frame of now (x forward, y left), and how fast it went."""

    x_m: FiniteFloat
    y_m: FiniteFloat
    v_mps: Annotated[FiniteFloat, Field(ge=0)]


class EgoHistory(Frozen):
    """Two seconds of ego motion: five points 0.5 s apart, the last one now, at the origin.

    Accelerations and yaw rate may be left out; they are then taken from the points.
    """

    dt_s: Annotated[float, Field(ge=baselines.PAST_S, le=baselines.PAST_S)] = baselines.PAST_S
    points: Annotated[tuple[HistoryPoint, ...], Field(min_length=POINTS, max_length=POINTS)]
    accel_mps2: FiniteFloat | None = None
    lateral_accel_mps2: FiniteFloat | None = None
    yaw_rate_radps: FiniteFloat | None = None

    @classmethod
    def read(cls, data: Any) -> EgoHistory:
        """From a dict of a request or a file. Raises InputError, one line, naming the field, the rule and the value."""
        try:
            out = cls.model_validate(data)
        except ValidationError as e:
            raise InputError(f"ego history: {explain(e)}") from None
        out.check()
        return out

    def check(self) -> None:
        """Raises InputError when the history is well-formed but cannot be written in the prompt or is in another frame."""
        xy, last = self.xy(), self.points[-1]
        if np.abs(xy[-1]).max() > 0.05:
            raise InputError(f"ego history: the last point is now, at the origin: got ({last.x_m}, {last.y_m}); use the ego frame")
        if np.abs(xy).max() > MAX_M:
            raise InputError(f"ego history: points lie within {MAX_M} m of now: got {np.abs(xy).max():.1f} m; check dt_s and units")
        fastest = max(*(p.v_mps for p in self.points), float(np.linalg.norm(self.velocity_mps())))
        if fastest > MAX_MPS:
            raise InputError(f"ego history: speeds are at most {MAX_MPS} m/s: got {fastest:.1f}; check the unit")

    def xy(self) -> NDArray[np.float64]:
        """[5, 2] m, oldest first."""
        return np.array([(p.x_m, p.y_m) for p in self.points])

    def velocity_mps(self) -> NDArray[np.float64]:
        """[2] m/s, forward and left: what `TrajectoryCoding` takes."""
        return baselines.velocity(self.xy())

    def motion(self) -> tuple[float, float, float]:
        """(longitudinal m/s2, lateral m/s2, yaw rate rad/s), derived from the points where it was not given."""
        v = np.array([p.v_mps for p in self.points])
        accel = self.accel_mps2 if self.accel_mps2 is not None else slope(v[-3:], self.dt_s)
        step = np.diff(self.xy()[-3:], axis=0)
        moved = bool((np.linalg.norm(step, axis=1) > 0.5).all())  # below that the direction is noise
        turn = float(wrap(np.diff(np.arctan2(step[:, 1], step[:, 0])))[0]) / self.dt_s if moved else 0.0
        yaw_rate = self.yaw_rate_radps if self.yaw_rate_radps is not None else turn
        lateral = self.lateral_accel_mps2 if self.lateral_accel_mps2 is not None else float(v[-1]) * yaw_rate
        return accel, lateral, yaw_rate


def slope(values: NDArray[np.floating], dt_s: float) -> float:
    """Least-squares slope of equally spaced values, per second: one noisy sample moves it little."""
    t = (np.arange(len(values)) - (len(values) - 1) / 2) * dt_s
    return float(t @ np.asarray(values, dtype=np.float64) / (t @ t))


def history_of(window: Window) -> EgoHistory:
    """The history of a recorded or simulated window, from positions up to now alone.

    Recorded speeds are left out on purpose: those of NGSIM are averages over +-0.2 s, so they hold part of the future. A speed
    here is the distance covered in the 0.2 s before (for the first point, after) it; the acceleration is the slope of the speeds
    of the last second, the yaw rate that of the heading.
    """
    return history_from(window.history, window.history_yaw, window.scene.dt_s)


def history_from(xy: NDArray[np.floating], yaw: NDArray[np.floating], dt: float) -> EgoHistory:
    """`history_of` positions [21, 2] m and headings [21] rad in the ego frame, `dt` s apart, the last one now."""
    xy = np.asarray(xy, dtype=np.float64)
    ends = np.maximum(np.arange(0, len(xy), baselines.PAST_STEPS), 2)
    speed = np.linalg.norm(xy[ends] - xy[ends - 2], axis=1) / (2 * dt)
    stepwise = np.linalg.norm(np.diff(xy[-11:], axis=0), axis=1) / dt
    yaw = np.unwrap(np.asarray(yaw, dtype=np.float64)[-11:])
    yaw_rate = slope(yaw, dt) if speed[-1] > 0.5 else 0.0  # the heading of a standing vehicle is noise
    points = tuple(HistoryPoint(x_m=x, y_m=y, v_mps=v) for (x, y), v in zip(baselines.past(xy), speed, strict=True))
    return EgoHistory(
        points=points,
        accel_mps2=slope(stepwise, dt),
        lateral_accel_mps2=float(speed[-1]) * yaw_rate,
        yaw_rate_radps=yaw_rate,
    )


def prompt_text(history: EgoHistory, command: str) -> str:
    """The user turn: task, `<image>`, route hint, motion now, then `x y v` of the four past points, oldest first.

    The present point is left out of the list (it is the origin; its speed stands before). Accelerations beyond +-9.99 m/s2 and
    yaw rates beyond +-9.99 rad/s are written as that limit. Raises UnknownNameError and InputError (see `EgoHistory.check`).
    """
    if command not in get_args(Command):
        raise UnknownNameError("navigation command", command, get_args(Command))
    history.check()
    accel, lateral, yaw_rate = (_fixed(float(np.clip(m, -9.99, 9.99)), 1, 2) for m in history.motion())
    mean = float(np.linalg.norm(history.velocity_mps()))  # of the last 0.5 s: what offsets from constant velocity start from
    now = f"{command} speed {history.points[-1].v_mps:05.2f} mean {mean:05.2f} accel {accel} {lateral} yaw {yaw_rate}"
    rows = [f"{_fixed(p.x_m, 2, 1)} {_fixed(p.y_m, 2, 2)} {p.v_mps:04.1f}" for p in history.points[:-1]]
    return f"{TASK}\n{IMAGE}\n{now}\n" + "\n".join(rows)


def _fixed(value: float, digits: int, decimals: int) -> str:
    """Sign, `digits`, point, `decimals`; never -0."""
    return f"{round(value, decimals) + 0.0:+0{digits + decimals + 2}.{decimals}f}"
