"""The conventions that a block-diffusion checkpoint was trained with.

Published models disagree silently on every field below, and with any one wrong the text stays fluent and the quality drops.
So the conventions travel with the checkpoint: they live in its `config.json` under `block_diffusion`, importers fill them for
published formats, and loading fails without them.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from edge.core.config import Frozen, explain
from edge.core.errors import CheckpointError

CONFIG_KEY = "block_diffusion"


class BlockSpec(Frozen):
    """Grid, attention, label shift and special ids of a checkpoint (Fast-dLLM v2, Fast-dVLM, Fast-dDrive and kin)."""

    block_size: int = Field(gt=0)
    """Rows of one block in training; the default at decoding."""
    grid_origin: Literal["response", "absolute"] = "response"
    """Where block 0 starts: at the response (Fast-dVLM) or at row 0 of the whole sequence (Fast-dLLM v2)."""
    prompt: Literal["causal", "block", "full"] = "causal"
    """Attention among prompt rows."""
    commit: Literal["causal", "block", "none"] = "causal"
    """Attention of the pass that makes a finished block permanent; "none": the last denoising pass is kept."""
    draft_shift: Literal[0, 1] = 1
    """1: the output of row i-1 predicts row i (models converted from AR); 0: the output of row i predicts row i."""
    causal_mode: bool = True
    """Whether the model also works as a causal next-token model, so that lossless strategies exist."""
    position_mode: Literal["mrope", "rope", "flat1d"] = "mrope"
    mask_token_id: int = Field(ge=0)
    pad_token_id: int | None = None
    """The padding token that fields were filled up with in training (NULL of Fast-dDrive); None: never trained with one."""
    stop_ids: tuple[int, ...] = ()
    vocab_limit: int | None = Field(default=None, gt=0)
    """Ids at and above are unused rows of the embedding and are never predicted."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pad_token_id is not None and self.pad_token_id == self.mask_token_id:
            raise ValueError(f"pad_token_id must differ from mask_token_id: both are {self.mask_token_id}")
        if self.mask_token_id in self.stop_ids:
            raise ValueError(f"mask_token_id must not be a stop id: {self.mask_token_id} is in {list(self.stop_ids)}")
        return self

    @classmethod
    def from_config(cls, config: dict[str, Any], where: str) -> BlockSpec:
        """Read the spec out of a checkpoint's parsed `config.json`; `where` names the folder in errors.

        Raises CheckpointError when the key is absent or its content invalid.
        """
        if CONFIG_KEY not in config:
            raise CheckpointError(
                f"{where}: config.json has no {CONFIG_KEY!r} section, so block grid, label shift and mask id are unknown; "
                "convert the checkpoint with `edge convert` or bring a published one in with `edge import`"
            )
        try:
            return cls.model_validate(config[CONFIG_KEY])
        except ValidationError as e:
            raise CheckpointError(f"{where}: config.json {CONFIG_KEY!r}: {explain(e)}") from None
