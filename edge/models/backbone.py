"""The protocol between the session and a model: what an adapter must offer. Adapters: `lean` (fast) and `hf` (general).

Shapes: `R` rows of a call, `W` wanted rows, `L` logical positions, `A` rotary axes (1 for text, 3 for M-RoPE), `P` prompt rows,
`V` vocabulary. A *logical* position is the index of a token in the sequence; where the model puts it on its rotary axes is the
model's own convention (`axes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.models.tape import Tape


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What a vision tower made of the images of a prompt.

    features: [N, hidden], the rows of all images one after the other.
    counts: rows of each image, which is how many placeholder ids it takes in the prompt.
    grids: int64 [images, 3] on the CPU, (time, height, width) in patches before merging; None for models with flat positions.
    keys: for each image bytes that are the same for the same pixels alone; none where nobody asked whether two are the same.
    """

    features: Tensor
    counts: tuple[int, ...]
    grids: Tensor | None = None
    keys: tuple[bytes, ...] = ()


class Backbone(Protocol):
    """A loaded language model with its conventions."""

    spec: BlockSpec
    vocab_size: int
    hidden_size: int
    max_positions: int
    """Longest sequence that the model was built for (`max_position_embeddings`)."""
    image_token_id: int | None
    """The placeholder that an image's rows replace, None for a text-only model."""
    device: torch.device
    dtype: torch.dtype

    def new_tape(self, capacity: int, *, check: bool | None = None) -> Tape:
        """An empty cache of `capacity` slots in this model's layout."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """int64 [R] on the CPU -> [R, hidden] on the model's device."""
        ...

    def encode_images(self, images: Sequence[Any]) -> ImageFeatures:
        """PIL images, file paths or uint8 arrays [H, W, 3].

        Raises InputError for what is no image, UnsupportedError when the model has no vision tower.
        """
        ...

    def axes(self, ids: Tensor, images: ImageFeatures | None) -> tuple[Tensor, int]:
        """Rotary positions of a prompt, int64 [P] -> (int64 [A, P], delta); logical position p >= P lies at p + delta on all axes.

        Raises InputError when images and placeholder ids do not match.
        """
        ...

    def rope(self, positions: Tensor) -> Any:
        """Rotary table of all logical positions, int64 [A, L] -> whatever `decode` indexes by logical position."""
        ...

    def decode(self, embeds: Tensor, position: Tensor, rope: Any, tape: Tape, want: Tensor) -> Tensor:
        """One forward of the rows that `tape.begin` was just called with.

        embeds: [R, hidden]; position: int64 [R] logical, on the CPU; want: int64 [W], rows that go through the head. Writes keys
        and values of all rows to the tape. Returns logits [W, V].
        """
        ...


def flat_axes(length: int, axes: int = 1) -> tuple[Tensor, int]:
    """Positions of a prompt without M-RoPE: its indices, on every axis."""
    return torch.arange(length).expand(axes, -1), 0


def mrope_axes(is_image: Tensor, grids: Tensor, merge: int) -> tuple[Tensor, int]:
    """M-RoPE positions of a prompt with images (Qwen2-VL, arXiv 2409.12191, section 2.1).

    Text advances all three axes together. An image starts where the text before it ended, spreads over (time, height, width) in
    merged patches, and the text after it goes on behind its longer side.
    is_image: bool [P]; grids: int64 [images, 3] in patches; merge: patches per side of one row. Returns (int64 [3, P], delta).
    Raises InputError when images and placeholders do not match in number.
    """
    total = is_image.shape[0]
    counts = [int(g.prod()) // merge**2 for g in grids]
    if int(is_image.sum()) != sum(counts):
        raise InputError(
            f"the prompt has {int(is_image.sum())} image placeholder ids and its {len(counts)} images take {sum(counts)}: "
            "repeat the placeholder once for every row of an image"
        )
    out = torch.empty(3, total, dtype=torch.long)
    row = start = 0
    for count, grid in zip(counts, grids.tolist(), strict=True):
        text = int(is_image[row:].to(torch.uint8).argmax())
        out[:, row : row + text] = torch.arange(start, start + text)
        row, start = row + text, start + text
        if not bool(is_image[row : row + count].all()):
            raise InputError(f"the {count} placeholder ids of an image must follow each other: the run from row {row} is shorter")
        t, h, w = grid[0], grid[1] // merge, grid[2] // merge
        spread = torch.meshgrid(torch.arange(t), torch.arange(h), torch.arange(w), indexing="ij")
        out[:, row : row + count] = torch.stack(spread).reshape(3, -1) + start
        row, start = row + count, start + max(h, w)
    out[:, row:] = torch.arange(start, start + total - row)
    return out, int(out.max()) + 1 - total
