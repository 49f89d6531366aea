"""What robot programs call a policy by, and what a policy is asked.

Shapes: `N` queries, `B` batch, `O` observation steps, `F` features of an observation, `M` rows of a memory of width `W`, `n`
actions that are executed, `A` action size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

STATE, IMAGE, WORDS = "observation.state", "observation.image", "task"
"""Keys of a batch, as in LeRobot: state [B, F], picture uint8 [B, height, width, 3], and what is to be done, a text."""


@dataclass(frozen=True, slots=True)
class Queries:
    """observations: [N, O, F], the newest last; memory: [N, M, W], what a model makes of picture and words, if there is one."""

    observations: Tensor
    memory: Tensor | None = None

    def __len__(self) -> int:
        return len(self.observations)

    def __getitem__(self, rows: int | slice | Tensor) -> Queries:
        """Some of them; one of them is still a batch."""
        at = slice(rows, rows + 1 or None) if isinstance(rows, int) else rows
        return Queries(self.observations[at], None if self.memory is None else self.memory[at])

    def __iter__(self) -> Iterator[Queries]:
        return (self[n] for n in range(len(self)))

    @staticmethod
    def cat(parts: Sequence[Queries]) -> Queries:
        memory = [p.memory for p in parts if p.memory is not None]
        return Queries(torch.cat([p.observations for p in parts]), torch.cat(memory) if memory else None)


class Policy(Protocol):
    """LeRobot's calls and openpi's, by interface: neither need be installed."""

    def reset(self) -> None:
        """A new episode: history and actions that wait are forgotten."""
        ...

    def select_action(self, batch: Mapping[str, Any]) -> Tensor:
        """The next action, [B, A]. batch: `observation.state` [B, F]. A chunk is predicted whenever the last one is used up."""
        ...

    def predict_action_chunk(self, batch: Mapping[str, Any]) -> Tensor:
        """Actions from now on, [B, n, A]. batch: `observation.state` [B, F], or [B, O, F] with the newest last."""
        ...

    def infer(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        """openpi: a dictionary with `state` [F] in (and `image` and `prompt`, where it sees), one with `actions` [n, A] out."""
        ...
