"""What an episode happens in. Steps are those of the scene; the ego is handed over at step `start`."""

from __future__ import annotations

from typing import Protocol

from robotics.driving.closed_loop.bicycle import Bicycle, State
from robotics.driving.closed_loop.seen import Seen
from robotics.driving.scene import Scene, Track

LEAD_STEPS = 10
"""A world begins 1 s before the ego is handed over: a planner that takes time has seen something by then."""
DT_S = 0.1


class World(Protocol):
    """Traffic around one ego. Until `start` the driver of the log drives, from then on `drive` does."""

    @property
    def log(self) -> Track:
        """What that driver did: until the end of the episode, and 5 s more, straight on."""
        ...

    @property
    def bicycle(self) -> Bicycle: ...

    @property
    def start(self) -> int: ...

    @property
    def steps(self) -> int:
        """Length of the episode."""
        ...

    @property
    def step(self) -> int: ...

    @property
    def state(self) -> State:
        """Of the ego now."""
        ...

    def seen(self) -> Seen:
        """What can be known now."""
        ...

    def coast(self) -> None:
        """One step as the driver of the log goes."""
        ...

    def drive(self, state: State) -> None:
        """One step with the acceleration and the steering angle that `state` holds."""
        ...

    def broken(self) -> bool:
        """Whether the world itself ended the episode: its physics of a collision have begun."""
        ...

    def scene(self) -> Scene:
        """All that has happened, and of others whatever is known beyond; the ego's track is what was driven."""
        ...


class Setting(Protocol):
    """Where episodes happen, all of which begin alike.

    key: names it; recording: the part of the world it shares with other settings, the unit of the bootstrap; kind: site or
    environment.
    """

    @property
    def key(self) -> str: ...

    @property
    def recording(self) -> str: ...

    @property
    def kind(self) -> str: ...

    def open(self) -> World:
        """A fresh episode."""
        ...
