"""Static low-confidence unmasking: the same number of rows in every pass (LLaDA, arXiv 2502.09992, low-confidence remasking within
blocks; "static" in block-diffusion engines).

Each pass makes final the ceil(block_size / steps) most confident rows: the cost of a block is known beforehand.
"""

from __future__ import annotations

import math

from decoding.denoise import denoise
from decoding.rules import Pick, commit_best, confidence, greedy
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.core.types import Canvas, Strategy


def static(canvas: Canvas, spec: BlockSpec, *, steps: int = 8, block_size: int | None = None, pick: Pick = greedy) -> Strategy:
    """At most `steps` denoising passes a block: exactly `steps` where it divides the block size and all rows of the block are open.

    Fewer where rows are decided already (frozen ones, a first row known from the pass before), more where a constraint sends rows
    back that contradict each other or lets rows wait for those before them.

    Raises InputError for steps below 1.
    """
    if not (isinstance(steps, int) and steps >= 1):
        raise InputError(f"steps must be a positive integer, the denoising passes of a block: got {steps!r}")
    count = math.ceil((block_size or spec.block_size) / steps)
    return denoise(
        canvas,
        spec,
        lambda probabilities, ids: commit_best(confidence(probabilities, ids), count),
        block_size=block_size,
        pick=pick,
    )
