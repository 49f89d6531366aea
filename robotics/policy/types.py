"""What robot programs call a policy by.

Shapes: `B` batch, `O` observation steps, `F` features of an observation, `n` actions that are executed, `A` action size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

STATE = "observation.state"
"""Key of the state in a batch, as in LeRobot."""


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
