"""What a denoiser is: residual units between an embedding and a head, which a cache may compute or take over one by one.

Shapes: `B` batch, `H` actions of the horizon, `A` action size, `O` observation tokens, `F` features of an observation, `E` hidden
size, `S` denoising steps, `U` units, `M` rows of a memory of width `W`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

from pydantic import Field
from torch import Tensor

from edge.core.config import Frozen

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Form(Frozen):
    """The form of a denoiser, but for what data say."""

    kind: Literal["decoder", "dit"] = "decoder"
    """Diffusion Policy's decoder, or a diffusion transformer."""
    horizon: Count = 8
    """Actions of a chunk."""
    observation_steps: Count = 2
    """Observations that the policy looks at, the newest last."""
    layers: Count = 3
    heads: Count = 4
    hidden: Count = 128
    feed_ratio: Count = 4
    dropout: Share = 0.1
    memory_rows: Annotated[int, Field(ge=0)] = 0
    """M: rows that cross-attention sees beside the observations, such as those of a vision-language model."""
    memory_size: Annotated[int, Field(ge=0)] = 0


class DenoiserConfig(Form):
    """The form of a denoiser."""

    action_size: Count
    observation_size: Count


Clock = Any
"""What a denoiser makes of the times of all steps; stays as long as sampler and weights do."""
Condition = Any
"""What a denoiser makes of one query's observations and a clock."""


class Denoiser(Protocol):
    """A network that predicts from noisy actions what a sampler needs. Its units are added up: h <- h + unit(h)."""

    config: DenoiserConfig

    @property
    def units(self) -> int:
        """U: 3 a layer, self-attention, cross-attention and feed-forward network."""
        ...

    def clock(self, times: Tensor) -> Clock:
        """times: float [S, 1] for all of a batch, or [S, B] for each of its samples."""
        ...

    def condition(self, observations: Tensor, clock: Clock, memory: Tensor | None = None) -> Condition:
        """observations: [B, O, F]; memory: [B, M, W], if the form has one."""
        ...

    def spread(self, condition: Condition, count: int) -> Condition:
        """The condition of one sample for `count` of them, without a copy."""
        ...

    def start(self, actions: Tensor, condition: Condition, step: int) -> Tensor:
        """Noisy actions [B, H, A] -> [B, H, E]. step: row of the clock."""
        ...

    def unit(self, number: int, h: Tensor, condition: Condition, step: int, rows: Tensor | None = None) -> Tensor:
        """What a unit adds to h, [B, H, E]; to some of its rows alone, where they are named: int64 [R] -> [B, R, E]."""
        ...

    def finish(self, h: Tensor, condition: Condition, step: int) -> Tensor:
        """[B, H, E] -> prediction [B, H, A]."""
        ...

    def resting(self, added: Tensor) -> Any:
        """What `rest` needs of a sum of units' outputs [B, H, E]; good as long as that is."""
        ...

    def rest(self, actions: Tensor, resting: Any, condition: Condition, step: int) -> Tensor:
        """The prediction at a step that computes no unit: `finish` of `start` and the sum, in as few operations as can be."""
        ...

    def flops(self, number: int, rows: int | None = None) -> int:
        """Multiplications and additions of one evaluation of a unit for one sample, or of so many of its rows."""
        ...

    def flops_around(self) -> int:
        """Those of `start` and `finish`."""
        ...
