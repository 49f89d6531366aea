"""Factor-based parallel decoding (Fast-dLLM, arXiv 2505.22618, "factor-based" rule).

Each pass makes final the k most confident rows as long as the k-th has a probability of at least 1 - factor / (k + 1), and always
the first: the more rows at once, the surer each has to be.
"""

from __future__ import annotations

import math

from decoding.denoise import denoise
from decoding.rules import Pick, commit_factor, confidence, greedy
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.core.types import Canvas, Strategy


def factor(canvas: Canvas, spec: BlockSpec, *, factor: float = 1.0, block_size: int | None = None, pick: Pick = greedy) -> Strategy:
    """Larger factors commit more rows a pass. Raises InputError for a factor that is not a positive number."""
    if not (isinstance(factor, int | float) and 0 < factor < math.inf):
        raise InputError(f"factor must be a positive number, about 1: got {factor!r}")
    return denoise(
        canvas,
        spec,
        lambda probabilities, ids: commit_factor(confidence(probabilities, ids), factor),
        block_size=block_size,
        pick=pick,
    )
