"""Section diffusion (Fast-dDrive, arXiv 2605.23163, "section diffusion"): threshold decoding of a scaffold, block after block of
its sections, with the attention that the method was published with.

    x = prompt and scaffold, masked at the open rows; frozen rows are never masked
    per block of a section (open rows in chunks, frozen rows with the next open one):
        until nothing is open: make final every open row whose probability reaches the threshold, and always the best one
        encode the finished block and go on

The blocks are those of `Canvas.block_ends`, so three things tell it from `threshold` on the same canvas:
1. A finished block stays visible both ways inside, as the method's evaluation mask has it (a response row sees its own block and
   those before), whatever the checkpoint's own commit attention is; `threshold` commits a causal checkpoint causally.
2. Hence frozen rows that open the answer belong to the first block, and not to the causal prompt.
3. A block's first row, which under label shift 1 the pass before it predicts, is denoised like any other: it waits until it is
   confident or the best, where `threshold` decides it at once.
"""

from __future__ import annotations

from decoding.denoise import denoise, hold
from decoding.rules import Pick, commit, confidence, greedy
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from edge.core.errors import UnsupportedError
from edge.core.types import Canvas, Strategy


def section_diffusion(
    canvas: Canvas, spec: BlockSpec, *, threshold: float = 0.9, block_size: int | None = None, pick: Pick = greedy
) -> Strategy:
    """Commit rows at or above probability `threshold`. block_size: open rows of a block, as the canvas was laid out.

    Raises UnsupportedError for a canvas without a scaffold.
    """
    if not isinstance(canvas.constraint, Scaffold):
        kind = "free text" if canvas.constraint is None else "an answer whose rows have no fixed places"
        raise UnsupportedError(
            f"strategy 'section-diffusion' denoises the sections of a scaffold and this is {kind}: give a schema "
            "(and a checkpoint with a padding token), or use strategy 'threshold'"
        )
    return denoise(
        canvas,
        spec.model_copy(update={"commit": "block"}),
        lambda probabilities, ids: commit(confidence(probabilities, ids), threshold),
        block_size=block_size,
        lead=hold,
        pick=pick,
    )
