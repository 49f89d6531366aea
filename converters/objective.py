"""What one step computes: a batch in, a loss out. One class per stage.

Shapes: `B` batch, `N` answer rows, `L` rows of a padded sample.
"""

from __future__ import annotations

from typing import Protocol

import torch

from converters.data import Batch
from converters.forward import Forward, causal_plans
from converters.losses import Loss, next_token, row_weights
from converters.recipe import Recipe
from decoding.scaffold import Scaffold


class Objective(Protocol):
    """Everything random is a function of `seed`."""

    def __call__(self, batch: Batch, seed: tuple[int, ...], progress: float) -> Loss:
        """progress: share of the run that is done, 0 to 1."""
        ...


class NextToken:
    """The AR stage: every answer row from the rows before it."""

    def __init__(self, recipe: Recipe, scaffold: Scaffold, forward: Forward) -> None:
        self.scaffold, self.forward = scaffold, forward
        self.weights = row_weights(scaffold, recipe.weights)
        self._plans: dict[tuple[int, int], tuple] = {}

    def __call__(self, batch: Batch, seed: tuple[int, ...], progress: float) -> Loss:
        n = batch.answers.shape[1]
        rows = batch.tokens.shape[1] - 1  # the last row of the longest sample predicts nothing
        want = batch.prompt_rows[:, None] - 1 + torch.arange(n)
        if batch.uniform:
            want = want[0]
            key = (rows, int(want[0]))
            if key not in self._plans:
                self._plans[key] = causal_plans(rows, want, self.forward.dtype)
            chunks, last = self._plans[key]
        else:  # padding stands on the right, where no causal row looks; only the last layer's plan differs by sample
            chunks, last = causal_plans(rows, want, self.forward.dtype)
        x = self.forward.embed(batch.tokens[:, :rows], batch.patches)
        hidden = self.forward.hidden(x, batch.positions[:, :, :rows], chunks, last, want)
        return next_token(self.forward.logits(hidden), batch.answers, self.weights, self.scaffold, batch.trained)
