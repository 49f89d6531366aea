"""What a policy is asked and what it answers; the interfaces that robot programs know.

Shapes: `B` batch, `O` observation steps, `F` features of an observation, `n` actions that are executed, `A` action size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

F32 = NDArray[np.float32]
STATE = "observation.state"
"""Key of the state in a batch, as in LeRobot."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a robot sees now. state: [F]; instruction: for policies that take one."""

    state: F32
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """Actions to execute one after the other. actions: [n, A]; told: what they cost."""

    actions: F32
    told: Mapping[str, float] = field(default_factory=dict)


class Policy(Protocol):
    """LeRobot's calls and openpi's, by interface: neither need be installed."""

    def reset(self) -> None:
        """A new episode: history and actions that wait are forgotten."""
        ...

    def select_action(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The next action, [B, A]. batch: `observation.state` [B, F]. A chunk is predicted whenever the last one is used up."""
        ...

    def predict_action_chunk(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Actions from now on, [B, n, A]. batch: `observation.state` [B, F], or [B, O, F] with the newest last."""
        ...

    def infer(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        """openpi: a dictionary with `state` [F] in, one with `actions` [n, A] out."""
        ...
