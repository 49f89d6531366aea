"""What a planner in the loop is told: the pictures, the motion and the route of an ego that is where it really went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robotics.driving.closed_loop.bicycle import State
from robotics.driving.labels import navigation_command
from robotics.driving.prompt import Command, EgoHistory, history_of
from robotics.driving.render import render
from robotics.driving.scene import F32, FUTURE_STEPS, HISTORY_STEPS, Scene, Track, Window, to_ego, wrap
from robotics.driving.windows import window_at


@dataclass(frozen=True, slots=True)
class Seen:
    """One moment of an episode. scene: the ego's track in it ends at `step` and is what was driven; state: of the vehicle then.

    log: the track of the driver who drives here outside of the loop (recorded, or of the simulator), and 5 s more of it.
    """

    scene: Scene
    track_id: int
    step: int
    state: State
    log: Track

    def window(self) -> Window:
        """As a planning problem whose future nobody knows: NaN."""
        ego = self.scene.tracks[self.track_id]
        x, y, yaw, _ = ego.state(self.step)
        past = slice(self.step - HISTORY_STEPS - ego.first, self.step + 1 - ego.first)
        unknown = np.full((FUTURE_STEPS, 2), np.nan, dtype=np.float32)
        history = to_ego(ego.xy[past], (x, y, yaw))
        turned = wrap(ego.yaw[past] - yaw)
        return Window(self.scene, self.track_id, self.step, history, turned, ego.speed[past].copy(), unknown, unknown[:, 0])

    def history(self) -> EgoHistory:
        return history_of(self.window())

    def images(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The three cameras [3, H, W, 3] at the pose that the ego has reached."""
        return render(self.scene, self.step, self.track_id, size=size)

    def command(self) -> Command:
        """The route hint: of the log, from the point of it that is nearest to the ego."""
        x, y, *_ = self.scene.tracks[self.track_id].state(self.step)
        last = len(self.log) - 1 - FUTURE_STEPS
        nearest = int(np.hypot(*(self.log.xy[HISTORY_STEPS : last + 1] - (x, y)).T).argmin()) + HISTORY_STEPS
        alone = replace(self.scene, tracks={self.log.track_id: self.log})
        return navigation_command(window_at(alone, self.log.track_id, self.log.first + nearest))


def driven(states: Sequence[State], first: int, log: Track) -> Track:
    """The track of an ego that went through `states` from step `first` on, with the size and number of `log`."""
    a = np.array([(s.x, s.y, s.yaw, s.speed) for s in states], dtype=np.float64)
    xy, speed = a[:, :2].astype(np.float32), a[:, 3].astype(np.float32)
    return replace(log, first=first, xy=xy, yaw=wrap(a[:, 2]), speed=speed)


def with_ego(scene: Scene, ego: Track) -> Scene:
    """The scene with the track of that number replaced; everything else, and the lanes, are shared with it."""
    return replace(scene, tracks={**scene.tracks, ego.track_id: ego})


def prolonged(track: Track, steps: int, dt_s: float = 0.1) -> Track:
    """The track and `steps` more, straight on at its last speed (over its last 0.5 s): so that its end has a future too."""
    back = min(5, len(track) - 1)
    v = (track.xy[-1] - track.xy[-1 - back]) / (back * dt_s) if back else np.zeros(2)
    more = track.xy[-1] + np.arange(1, steps + 1)[:, None] * dt_s * v
    xy: F32 = np.concatenate([track.xy, more.astype(np.float32)])
    yaw, speed = (np.concatenate([a, np.repeat(a[-1:], steps)]) for a in (track.yaw, track.speed))
    return replace(track, xy=xy, yaw=yaw, speed=speed)
