"""CommonRoad scenario files, versions 2018b and 2020a: lanelets and recorded obstacles, by ElementTree.

Source: CommonRoad, "Documentation of the XML Format", 2018b and 2020a. 2018b has one element `obstacle` with a `role`, 2020a has
`dynamicObstacle` and `staticObstacle`. States hold exact values or intervals, of which the middle is taken. Scenes come at 0.1 s
whatever the file's time step.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from edge.core.errors import InputError
from robotics.driving.damage import Damage
from robotics.driving.data.motion import DT_S, F64, poses_at
from robotics.driving.scene import F32, RoadUser, Scene, Track, wrap

VERSIONS = ("2018b", "2020a")

_KINDS: dict[str, RoadUser] = {
    "car": "vehicle",
    "truck": "vehicle",
    "bus": "vehicle",
    "taxi": "vehicle",
    "parkedVehicle": "vehicle",
    "train": "vehicle",
    "unknown": "vehicle",
    "motorcycle": "cyclist",
    "bicycle": "cyclist",
    "pedestrian": "pedestrian",
    "priorityVehicle": "emergency_vehicle",
    "constructionZone": "construction",
}
"""Of obstacle types; others are taken to be vehicles."""

_OBSTACLES = ("obstacle", "dynamicObstacle", "staticObstacle")
_NOT_TRAFFIC = ("roadBoundary", "building", "pillar", "median_strip", "medianStrip", "environment")
"""Types of things beside the road, which are no tracks."""


def scenes(path: str | Path) -> Iterator[Scene | Damage]:
    """The scene of a file, after a Damage for each obstacle or lanelet that breaks the format. Never raises for what it holds."""
    path = Path(path)
    try:
        root, dt = _opened(path)
    except InputError as e:
        yield Damage(path.name, str(e))
        return
    lanes: list[tuple[F32, F32]] = []
    tracks: dict[int, Track] = {}
    for element in root:
        what = f"{path.name}: {element.tag} {element.get('id')}"
        try:
            if element.tag == "lanelet":
                lanes.append((_bound(element, "leftBound"), _bound(element, "rightBound")))
            elif element.tag in _OBSTACLES and element.findtext("type", "").strip() not in _NOT_TRAFFIC:
                track = _track(element, dt)
                if track.track_id in tracks:
                    raise InputError("obstacle id is taken: give each its own")
                tracks[track.track_id] = track
        except InputError as e:
            yield Damage(what, str(e))
    name = root.get("benchmarkID") or path.stem
    last = max((t.first + len(t) for t in tracks.values() if len(t) > 1), default=1)
    yield Scene(name, name.partition("-")[0], tuple(lanes), {k: _standing(t, last) for k, t in tracks.items()}, DT_S)


def _opened(path: Path) -> tuple[ET.Element, float]:
    """The root and its time step, s. Raises InputError, one line, for a file that is no scenario of a known version."""
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError, ValueError, LookupError) as e:  # LookupError: an encoding that is none
        raise InputError(f"not readable as XML: {' '.join(str(e).split())}") from None
    version = root.get("commonRoadVersion")
    if root.tag != "commonRoad" or version not in VERSIONS:
        raise InputError(f"not a CommonRoad scenario of version {' or '.join(VERSIONS)}: <{root.tag}> of version {version}")
    dt = _float(root.get("timeStepSize"), "timeStepSize")
    if not 0.001 <= dt <= 1.0:
        raise InputError(f"timeStepSize must be 0.001 to 1 s: got {dt}")
    return root, dt


def _bound(lanelet: ET.Element, side: str) -> F32:
    points = [(_float(p.findtext("x"), "x"), _float(p.findtext("y"), "y")) for p in lanelet.findall(f"{side}/point")]
    if len(points) < 2:
        raise InputError(f"bound of a lanelet needs two points: {side} has {len(points)}")
    return np.array(points, dtype=np.float32)


def _track(obstacle: ET.Element, dt_s: float) -> Track:
    number, type_ = obstacle.get("id", ""), obstacle.findtext("type", "unknown").strip()
    if not number.lstrip("-").isdigit():
        raise InputError(f"obstacle has no whole number as its id: {number!r}")
    length, width = _size(obstacle)
    states = [s for s in (obstacle.find("initialState"), *obstacle.findall("trajectory/state")) if s is not None]
    if not states:
        raise InputError("obstacle has no state: neither initialState nor trajectory (occupancy sets are not read)")
    rows = np.array([_state(s) for s in states])  # step, x, y, yaw, speed
    gaps = np.diff(rows[:, 0])
    if (gaps <= 0).any():
        raise InputError(f"obstacle states must follow in time: step {rows[int((gaps <= 0).argmax()) + 1, 0]:.0f} does not")
    if (gaps > 1).any():
        raise InputError(f"obstacle skips a step: after {rows[int((gaps > 1).argmax()), 0]:.0f}")
    first, at = _clock(rows[:, 0] * dt_s)
    xy, yaw = poses_at(rows[:, 0] * dt_s, rows[:, 1:3], rows[:, 3], at)
    speed = np.interp(at, rows[:, 0] * dt_s, rows[:, 4])
    xy, speed = xy.astype(np.float32), speed.astype(np.float32)
    return Track(int(number), first, xy, wrap(yaw), speed, length, width, _KINDS.get(type_, "vehicle"))


def _clock(times_s: F64) -> tuple[int, F64]:
    """First step of 0.1 s and the times of all steps within `times_s`."""
    first, last = int(np.ceil(times_s[0] / DT_S - 1e-6)), int(np.floor(times_s[-1] / DT_S + 1e-6))
    if last < first:
        raise InputError(f"obstacle is too short: it has no step of {DT_S} s")
    return first, np.arange(first, last + 1, dtype=np.float64) * DT_S


def _standing(track: Track, steps: int) -> Track:
    """A static obstacle, which has one state, stands there all the time."""
    if len(track) > 1:
        return track
    xy, yaw = np.repeat(track.xy, steps, axis=0), np.repeat(track.yaw, steps)
    return Track(track.track_id, 0, xy, yaw, np.zeros(steps, np.float32), track.length_m, track.width_m, track.kind)


def _size(obstacle: ET.Element) -> tuple[float, float]:
    shape = obstacle.find("shape")
    if shape is None:
        raise InputError("obstacle has no shape")
    if (rectangle := shape.find("rectangle")) is not None:
        return _float(rectangle.findtext("length"), "length"), _float(rectangle.findtext("width"), "width")
    if (radius := shape.findtext("circle/radius")) is not None:
        return 2 * _float(radius, "radius"), 2 * _float(radius, "radius")
    raise InputError("obstacle shape is neither rectangle nor circle")


def _state(state: ET.Element) -> tuple[float, float, float, float, float]:
    """Step, x m, y m, yaw rad, speed m/s."""
    point = state.find("position/point")
    if point is None:
        raise InputError("obstacle state has no position/point (uncertain positions are not read)")
    x, y = _float(point.findtext("x"), "x"), _float(point.findtext("y"), "y")
    speed = 0.0 if state.find("velocity") is None else _value(state, "velocity")
    return _value(state, "time"), x, y, _value(state, "orientation"), speed


def _value(state: ET.Element, key: str) -> float:
    """An exact value, or the middle of an interval."""
    if (exact := state.findtext(f"{key}/exact")) is not None:
        return _float(exact, key)
    low, high = state.findtext(f"{key}/intervalStart"), state.findtext(f"{key}/intervalEnd")
    if low is None or high is None:
        raise InputError(f"obstacle state has no {key}: neither exact nor an interval")
    return (_float(low, key) + _float(high, key)) / 2


def _float(text: str | None, what: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"value is no finite number: {what} is {text!r}")
    return value
