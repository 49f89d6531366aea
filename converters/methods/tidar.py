"""TiDAR (arXiv 2511.08923): an autoregressive half, and a draft half in which everything is masked.

    clean rows causal; of every block of an answer a draft of masks alone, which sees the clean rows before the block and itself |
    loss: mean over drafted tokens plus mean over answer tokens of the clean rows

No level is drawn: a draft is always made from nothing. Which row says which token was not in what was read of the paper; `shift`
says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from converters.methods.views import Sample, View, answer_blocks, asked, doubled, extended, next_tokens, weighed
from edge.core.config import Frozen


class TiDAR(Frozen):
    mask_token_id: int
    block_size: int = 16
    shift: Literal[0, 1] = 0
    clean_weight: float = 1.0

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        told = max(sum(int(s.answer.sum()) for s in samples), 1)
        out = []
        for sample in samples:
            rows = doubled(answer_blocks(sample.answer, self.block_size), "causal", keep=sample.answer)
            view, _ = asked(rows, sample, sample.answer, self.mask_token_id, self.shift)
            at, which = next_tokens(rows, sample)
            view = weighed(view, view.weight / told)
            out.append(extended(view, at, sample.ids[which], self.clean_weight / told))
        return out
