"""Entropy-bounded unmasking (EB-Sampler, arXiv 2505.24857, in the form block-diffusion engines run: the sum counts the row itself).

Each pass makes final the rows of least entropy while the sum of their entropies stays below the bound, and always the first.
"""

from __future__ import annotations

import math

from decoding.denoise import denoise
from decoding.rules import Pick, commit_entropy, greedy
from decoding.rules import entropy as entropy_of
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.core.types import Canvas, Strategy


def entropy_bound(
    canvas: Canvas, spec: BlockSpec, *, entropy: float = 0.35, block_size: int | None = None, pick: Pick = greedy
) -> Strategy:
    """entropy: the bound in nats; entropies are of the plain softmax over what a row may hold, whatever the temperature.

    Raises InputError for a bound below 0 or not finite.
    """
    if not (isinstance(entropy, int | float) and 0 <= entropy < math.inf):
        raise InputError(f"entropy must be a number of nats, 0 or more: got {entropy!r}")
    return denoise(
        canvas,
        spec,
        lambda probabilities, ids: commit_entropy(entropy_of(probabilities), entropy),
        block_size=block_size,
        pick=pick,
    )
