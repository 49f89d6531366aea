"""Some action tokens at some steps: RAS (arXiv 2502.10389) and, by token and layer, DiffSparse (2509.03588), without training.

At every so many steps all is computed. In between, only the tokens whose clean prediction moves most: what units add to the others
is taken over. Keys and values of self-attention are those of all tokens as they are now, so that no computed token looks at a past.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation


class TokenCache:
    """every: steps from one whole step to the next; share: of the tokens that are computed in between, one number for all units
    or one for each.
    """

    def __init__(self, every: int, share: float | Sequence[float]) -> None:
        """Raises InputError for less than one step, and for what is no share."""
        shares = [share] if isinstance(share, int | float) else list(share)
        if every < 1 or not shares or not all(0 <= s <= 1 for s in shares):
            raise InputError(f"every {every}, share {share}: count steps from 1 on, and give shares of 0 to 1")
        self.every, self.shares = every, shares

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        """Raises InputError for another number of shares than there are units."""
        if len(self.shares) not in (1, denoiser.units):
            raise InputError(f"{len(self.shares)} shares: the denoiser has {denoiser.units} units; give one, or one for each")
        self._counts = [round(s * denoiser.config.horizon) for s in self.shares * (denoiser.units // len(self.shares))]
        self._kept: list[Tensor] = []
        self._out: list[Tensor] = []

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h = evaluation.start()
        if evaluation.step % self.every == 0 or len(self._out) < 2:
            self._kept = []
            for u in range(evaluation.denoiser.units):
                self._kept.append(evaluation.unit(u, h))
                h = h + self._kept[-1]
        else:
            moved = (self._out[-1] - self._out[-2]).abs().mean(dim=(0, -1))  # [H], of the whole batch
            order = torch.argsort(moved, descending=True, stable=True)
            for u, count in enumerate(self._counts):
                if count:
                    rows = order[:count].sort().values
                    self._kept[u] = self._kept[u].index_copy(1, rows, evaluation.rows(u, h, rows))
                h = h + self._kept[u]
        self._out = [*self._out[-1:], evaluation.finish(h)]
        return self._out[-1]
