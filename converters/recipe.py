"""A training recipe: everything that decides the result of a run, in one frozen object read from TOML.

Two stages share it. "ar" teaches a planner next-token prediction, from scratch or from a base; "convert" turns an autoregressive
checkpoint into a block-diffusion model (Fast-dVLM, arXiv 2604.06832; section noise and weights of Fast-dDrive, arXiv 2605.23163).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from edge.core.config import Frozen, Positive, Share, Weight, explain, load_toml, to_toml
from edge.core.errors import InputError
from edge.training.optimiser import Optimiser

__all__ = ["Block", "Noise", "Optimiser", "Recipe", "Scratch", "Source", "Transfer", "Weights", "load", "to_toml", "with_data"]


class Source(Frozen):
    """A dataset folder of format "edge.sft/1"."""

    path: Path
    weight: Positive = 1.0
    """How often each of its records is seen per epoch; 0.5: a fresh random half of them."""


class Scratch(Frozen):
    """Sizes of a new Qwen2.5-VL and of its tokenizer."""

    hidden_size: int = Field(default=256, gt=0)
    layers: int = Field(default=6, gt=0)
    heads: int = Field(default=4, gt=0)
    kv_heads: int = Field(default=2, gt=0)
    intermediate_size: int = Field(default=704, gt=0)
    mrope_section: tuple[int, int, int] = (8, 12, 12)
    """Pairs of a head that follow time, height and width; they sum to half the head size."""
    rope_theta: Positive = 10_000.0
    max_positions: int = Field(default=4096, gt=0)
    vision_depth: int = Field(default=2, gt=0)
    vision_hidden: int = Field(default=128, gt=0)
    vision_heads: int = Field(default=4, gt=0)
    vision_intermediate: int = Field(default=256, gt=0)
    vision_full_attention: tuple[int, ...] = (1,)
    window_px: int = Field(default=112, gt=0)
    vocab_size: int = Field(default=576, gt=0)
    """Rows of the embedding: 256 bytes, merges, special tokens, literals, and unused ones. Large enough that every word of the
    driving texts is one token: then all prompts have one length, and batches need no padding."""
    tokenizer_records: int = Field(default=4000, gt=0)
    """Records (evenly spread over the data) whose texts the tokenizer is trained on."""
    literals: bool = False
    """Make every literal text of the answer template with a letter in it one token: fewer rows, but a less typical vocabulary."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must divide hidden_size ({self.hidden_size}) and be a multiple of kv_heads")
        if 2 * sum(self.mrope_section) != self.hidden_size // self.heads:
            raise ValueError(f"mrope_section must sum to half the head size, {self.hidden_size // self.heads // 2}")
        if self.vision_hidden % self.vision_heads or (self.vision_hidden // self.vision_heads) % 4:
            raise ValueError("vision_hidden / vision_heads must be a whole multiple of 4")
        return self


class Transfer(Frozen):
    """An earlier conversion of a parent that the base was trained on from: its change of weights is where converting starts."""

    parent: Path
    child: Path


class Block(Frozen):
    """The block grid of the convert stage."""

    size: int = Field(default=32, gt=0)
    annealing: bool = False
    """Grow the block over the run: size/8 until 1/16 of the steps, size/4 until 1/4, size/2 until 9/16 (Fast-dVLM)."""


class Noise(Frozen):
    """How rows are masked in the convert stage."""

    beta: dict[str, tuple[Positive, Positive]] = Field(default_factory=dict)
    """Section name to (a, b) of the Beta distribution of a block's masking rate; absent: (1, 1), the uniform one."""
    eps: Share = 1e-3
    suffix_share: Share = 0.0
    """Share of blocks that are masked as self-speculation masks them, from a random open row to the block's end (copy A) and
    wholly (copy B), instead of at random with a complementary copy."""


class Weights(Frozen):
    """What counts how much in the loss."""

    sections: dict[str, Weight] = Field(default_factory=dict)
    """Section name to weight; absent: 1. In the AR stage it multiplies every row, in the convert stage the noisy rows."""
    number: Weight = 1.0
    """AR stage: rows of number holes."""
    choice: Weight = 1.0
    free: Weight = 1.0
    frozen: Weight = 0.1
    """Literal rows, which a scaffold gives at decoding; small but not zero, so that free decoding works too."""
    clean: Weight = 1.0
    """Convert stage: the causal loss of the clean half against the noisy losses."""
    distill: Share = 0.5
    """Convert stage: share of the noisy loss that is measured against the clean half's own causal distribution instead of the
    label. Acceptance in self-speculation is agreement with that distribution."""


class Recipe(Frozen):
    """One run. `base` is a checkpoint folder to start from, `scratch` the sizes of a new model: exactly one of them."""

    stage: Literal["ar", "convert"]
    base: Path | None = None
    scratch: Scratch | None = None
    transfer: Transfer | None = None
    data: tuple[Source, ...] = ()
    eval_data: tuple[Source, ...] = ()
    eval_every: int = Field(default=0, ge=0)
    """Steps between losses on `eval_data`; 0: at the end alone."""
    eval_records: int = Field(default=256, gt=0)
    """At most so many records, evenly spread over `eval_data`."""
    steps: int = Field(gt=0)
    batch: int = Field(default=16, gt=0)
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0: as many as torch takes. Bytes of the result are the same for the same number only."""
    precision: Literal["bf16-autocast", "fp32"] = "bf16-autocast"
    """bf16-autocast: weights and sums in float32, products in bfloat16."""
    log_every: int = Field(default=10, gt=0)
    checkpoint_every: int = Field(default=100, gt=0)
    jitter: Share = 0.0
    """Largest change of brightness, contrast and colour of each image, as a share."""
    prompt_dropout: Share = 0.0
    """Share of samples whose prompt is hidden behind its last image, so that an answer cannot rest on words and numbers alone."""
    image_dropout: Share = 0.0
    """Share of samples whose images are blank; 1: a planner that never sees, for comparison."""
    block: Block = Block()
    noise: Noise = Noise()
    weights: Weights = Weights()
    optimiser: Optimiser = Optimiser()

    @property
    def blind(self) -> bool:
        """Whether the model never sees a picture."""
        return self.image_dropout == 1.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.base is None) == (self.scratch is None):
            raise ValueError("give exactly one of base (a checkpoint folder) and scratch (sizes of a new model)")
        if self.stage == "convert" and self.base is None:
            raise ValueError("stage 'convert' starts from an autoregressive checkpoint: give base")
        if self.transfer is not None and self.stage != "convert":
            raise ValueError("transfer belongs to stage 'convert': it adds what an earlier conversion changed")
        if self.checkpoint_every % self.log_every or self.eval_every % self.log_every:
            raise ValueError(f"checkpoint_every and eval_every must be multiples of log_every ({self.log_every})")
        return self


def load(path: str | Path, *, data: Sequence[Path] | None = None, base: Path | None = None, **values: Any) -> Recipe:
    """Read a recipe; `data` and `base` replace what the file says, `values` are dotted keys (`{"optimiser.lr": 1e-3}`).

    Raises InputError naming the file and the key.
    """
    overrides: dict[str, Any] = dict(values)
    if base is not None:
        overrides["base"] = base
    recipe = load_toml(path, Recipe, overrides)
    return recipe if data is None else with_data(recipe, data)


def with_data(recipe: Recipe, data: Sequence[Path]) -> Recipe:
    """The recipe on other folders; a folder of the same name keeps its weight."""
    weights = {s.path.name: s.weight for s in recipe.data}
    sources = tuple(Source(path=Path(p), weight=weights.get(Path(p).name, 1.0)) for p in data)
    try:
        return Recipe.model_validate({**recipe.model_dump(), "data": [s.model_dump() for s in sources]})
    except ValidationError as e:
        raise InputError(f"recipe: {explain(e)}") from None
