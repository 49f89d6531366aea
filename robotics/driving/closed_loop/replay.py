"""Log replay: recorded traffic that does as it was recorded to do, whatever the ego does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.core.errors import InputError
from robotics.driving.closed_loop.bicycle import Bicycle, State
from robotics.driving.closed_loop.seen import Seen, driven, prolonged, with_ego
from robotics.driving.closed_loop.world import DT_S, LEAD_STEPS
from robotics.driving.scene import FUTURE_STEPS, HISTORY_STEPS, Scene, Track

SHORTEST_STEPS, LONGEST_STEPS = 40, 120
"""An episode lasts from 4 s to 12 s."""
LEAST_M = 10.0
"""The recorded ego moves at least this far in the episode: whoever waits has nothing to drive."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A recording and one of its vehicles as ego."""

    scene: str
    track_id: int
    start: int
    steps: int


def eligible(scene: Scene) -> Iterator[Pair]:
    """Every track of `scene` that is long enough and gets anywhere in its episode, by number."""
    for track in sorted(scene.tracks.values(), key=lambda t: t.track_id):
        start = track.first + HISTORY_STEPS + LEAD_STEPS
        steps = min(len(track) - 1 - HISTORY_STEPS - LEAD_STEPS, LONGEST_STEPS)
        if steps < SHORTEST_STEPS:
            continue
        way = track.xy[start - track.first : start - track.first + steps + 1]
        if np.hypot(*(way[-1] - way[0])) > LEAST_M:
            yield Pair(scene.name, track.track_id, start, steps)


def choose(found: Sequence[Sequence[Pair]], count: int) -> list[Pair]:
    """`count` pairs spread over recordings as evenly as they allow, and evenly over the eligible tracks of each.

    Raises InputError when the recordings hold fewer.
    """
    total = sum(map(len, found))
    if total < count:
        raise InputError(f"{count} episodes asked for, {total} can be driven in these {len(found)} recordings; ask for fewer")
    share = [0] * len(found)
    while sum(share) < count:
        share[min((s, k) for k, s in enumerate(share) if s < len(found[k]))[1]] += 1
    return [
        pairs[i]
        for pairs, n in zip(found, share, strict=True)
        for i in (np.linspace(0, len(pairs) - 1, n).round().astype(int) if n else ())
    ]


@dataclass(frozen=True, slots=True)
class Recording:
    """A pair made ready to be driven often."""

    scene: Scene
    pair: Pair

    @property
    def recording(self) -> str:
        return self.pair.scene

    @property
    def kind(self) -> str:
        return self.scene.source

    @property
    def key(self) -> str:
        return f"{self.pair.scene}:{self.pair.track_id}:{self.pair.start}"

    def open(self) -> LogReplay:
        return LogReplay(self.scene, self.pair)


class LogReplay:
    """An episode of a pair. A `World`."""

    def __init__(self, scene: Scene, pair: Pair) -> None:
        track = scene.tracks[pair.track_id]
        self.recorded = scene
        self.start, self.steps = pair.start, pair.steps
        self.step = pair.start - LEAD_STEPS
        end = pair.start + pair.steps + 1 - track.first
        self.log = prolonged(_cut(track, end), FUTURE_STEPS)
        self.bicycle = Bicycle.of_length(track.length_m)
        self._first = self.step - HISTORY_STEPS
        self._states = [recorded_state(self.log, self._first + k, self.bicycle) for k in range(HISTORY_STEPS + 1)]

    @property
    def state(self) -> State:
        return self._states[-1]

    def seen(self) -> Seen:
        return Seen(self.scene(), self.log.track_id, self.step, self.state, self.log)

    def coast(self) -> None:
        self.step += 1
        self._states.append(recorded_state(self.log, self.step, self.bicycle))

    def drive(self, state: State) -> None:
        self.step += 1
        self._states.append(self.bicycle.step(state, DT_S))

    def broken(self) -> bool:
        return False

    def scene(self) -> Scene:
        return with_ego(self.recorded, driven(self._states, self._first, self.log))


def recorded_state(track: Track, step: int, bicycle: Bicycle) -> State:
    """A recorded vehicle as a bicycle: what its actuators held is what its last 0.5 s look like."""
    x, y, yaw, speed = track.state(step)
    k = step - track.first
    back = min(k, 5)
    if not back:
        return State(x, y, yaw, speed)
    x0, y0, yaw0, speed0 = track.state(step - back)
    way = math.hypot(x - x0, y - y0)
    turned = (yaw - yaw0 + math.pi) % (2 * math.pi) - math.pi
    curvature = turned / way if way > 1.0 else 0.0
    accel = (speed - speed0) / (back * DT_S)
    return State(x, y, yaw, speed, min(max(accel, bicycle.accel[0]), bicycle.accel[1]), bicycle.steer_for(curvature))


def _cut(track: Track, steps: int) -> Track:
    return replace(track, xy=track.xy[:steps], yaw=track.yaw[:steps], speed=track.speed[:steps])
