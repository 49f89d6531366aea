"""What the rows on a tape's trunk say, so that the next request need not say it again (prefix reuse of prompts, earlier turns).

A row may be reused when everything it has seen is the same: with a causal prompt row by row, where the prompt is encoded in blocks
a whole block of the prompt at a time, and not at all where the prompt is seen as one.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from edge.core.blockspec import BlockSpec
from edge.core.types import TRUNK, Call
from edge.models.backbone import ImageFeatures

UNKNOWN = -1
"""Mark of a row that equals no other."""


def marks(ids: Tensor, image_token_id: int | None, images: ImageFeatures | None) -> Tensor:
    """For every prompt row a number that is the same for rows that show the same: int64 [P].

    Of text the token id; of an image's row a number below -1 made from the image's key and the row's place in it. Rows of images
    without keys are UNKNOWN.
    """
    out = ids.clone()
    if images is None or image_token_id is None:
        return out
    places = (ids == image_token_id).nonzero().flatten()
    if not images.keys:
        out[places] = UNKNOWN
        return out
    of_rows = [torch.arange(n) + _base(key) for key, n in zip(images.keys, images.counts, strict=True)]
    out[places] = torch.cat(of_rows)
    return out


def _base(key: bytes) -> int:
    """Below every token id, with room above for the rows of an image."""
    return -(1 << 62) + (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 3)


class Said:
    """Marks of the rows that are kept on the trunk, by position."""

    def __init__(self) -> None:
        self._shown = torch.empty(0, dtype=torch.long)
        self._kept: list[int] = []

    def begin(self, shown: Tensor, kept: int) -> None:
        """Another request: marks of its prompt, int64 [P], the first `kept` rows of which are on the tape already."""
        self._shown = shown
        self._kept = shown[:kept].tolist()

    def keep(self, call: Call, rows: Tensor) -> None:
        """Rows of a call that became permanent; those on other branches than the trunk are left out."""
        prompt = self._shown.shape[0]
        for row in rows[call.branch[rows] == TRUNK].tolist():
            position = int(call.position[row])
            if position != len(self._kept):  # not one after the other: whatever follows is not reused
                return
            self._kept.append(int(self._shown[position]) if position < prompt else int(call.tokens[row]))

    def common(self, shown: Tensor, spec: BlockSpec) -> int:
        """How many leading rows of a prompt with these marks are on the tape as they would be computed anew."""
        unit = 1 if spec.prompt == spec.commit == "causal" else spec.block_size if spec.prompt == "block" else 0
        if not unit:
            return 0
        said = torch.tensor(self._kept if unit == 1 else self._kept[: self._shown.shape[0]], dtype=torch.long)
        n = min(said.shape[0], shown.shape[0])
        same = (said[:n] == shown[:n]) & (said[:n] != UNKNOWN)
        return int(same.long().cumprod(0).sum()) // unit * unit
