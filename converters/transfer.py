"""The change of weights that an earlier conversion made, added to a parent that was trained further.

Task arithmetic (Ilharco et al., arXiv 2212.04089): base + (child - parent). A parent that went on training from `parent` stays near
it, and what conversion added, drafting a masked block, is a direction that both share; converting goes on from there and not from
a model that has never seen a mask.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from converters.recipe import Transfer
from edge.core.errors import CheckpointError


@torch.no_grad()
def add(model: Qwen2_5_VLForConditionalGeneration, transfer: Transfer) -> None:
    """Add child - parent to the weights of `model`, in float32. Raises CheckpointError for folders of another architecture."""
    own = dict(model.named_parameters())
    parent, child = (_weights(path) for path in (transfer.parent, transfer.child))
    for path, weights in ((transfer.parent, parent), (transfer.child, child)):
        if {k: w.shape for k, w in weights.items()} != {k: w.shape for k, w in own.items()}:
            raise CheckpointError(
                f"{path}: its weights differ in name or shape from those of the base; transfer between like models"
            )
    for name, weight in own.items():
        weight.copy_((weight.float() + child[name] - parent[name]).to(weight.dtype))


def _weights(path: Path) -> dict[str, torch.Tensor]:
    if not (path / "config.json").exists():
        raise CheckpointError(f"{path}: no config.json there; transfer.parent and transfer.child are checkpoint folders")
    return dict(Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).named_parameters())
