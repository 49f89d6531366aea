"""What decides the result of a run, read from TOML.

base = "models/mine"
method = "fast_dvlm"
steps = 2000

[settings]                # of the method
block_size = 32

[[data]]
file = "talk.jsonl"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from edge.core.config import Frozen, Share
from edge.training.optimiser import Optimiser


class Talk(Frozen):
    """A file of conversations."""

    file: Path
    images: Path | None = None
    """Folder that names of pictures are relative to; the file's own where left out."""


class Tuning(Frozen):
    base: Path
    """Checkpoint to start from: an autoregressive one, or one that was converted before."""
    method: str
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the method."""
    data: tuple[Talk, ...] = ()
    eval_data: tuple[Talk, ...] = ()
    longest: int = Field(default=2048, gt=1)
    """Tokens of a sample; longer ones are dropped."""
    allowed: Share = 0.01
    """Share of the records of a file that may be dropped."""
    mask_token: str = "<|mask|>"
    """Name of the mask token: that of the vocabulary, or a new one, which takes an unused row of the embedding if there is one.
    A base that was converted before keeps its own."""
    trained: Literal["all", "language"] = "all"
    """language: the vision tower and its projector stay as they are."""
    steps: int = Field(gt=0)
    batch: int = Field(default=4, gt=0)
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0: as many as torch takes. Bytes of the result are the same for the same number only."""
    precision: Literal["bf16-autocast", "fp32"] = "bf16-autocast"
    log_every: int = Field(default=10, gt=0)
    eval_every: int = Field(default=0, ge=0)
    eval_records: int = Field(default=64, gt=0)
    checkpoint_every: int = Field(default=100, gt=0)
    optimiser: Optimiser = Optimiser(lr=1e-5, warmup=20, schedule="cosine", weight_decay=0.0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.data:
            raise ValueError("data: give at least one file of conversations")
        if self.checkpoint_every % self.log_every or self.eval_every % self.log_every:
            raise ValueError(f"checkpoint_every and eval_every must be multiples of log_every ({self.log_every})")
        return self
