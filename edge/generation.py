"""What a generation returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from decoding.logprobs import TokenLogprob
from edge.core.types import FinishReason


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer and what it cost.

    tokens: the new ids only, a stop token included; text: them decoded, special tokens left out.
    lossless: whether the strategy promises the answer of causal decoding under the same constraint.
    forwards: passes of the language model, the prompt's among them; rows: rows of all those passes.
    open_tokens: answer tokens that the model chose and that are no padding; pad_tokens: padding it was trained to fill with.
        Frozen scaffold rows are in neither.
    accepted_per_forward: open_tokens / forwards.
    skipped_sections: optional sections closed early to meet a deadline.
    branches: the rollouts that were joined, if any; their forwards and rows are those of the whole generation.
    spread: standard deviation over the rollouts of every number of the answer, in the schema's own units.
    timings: milliseconds by phase: "vision", "prefill", "decode", "total".
    prompt_tokens: rows of the prompt, images' among them; cached_tokens: leading ones that an earlier request had computed.
    logprobs: of every answer token, if asked for (see `decoding.logprobs`).
    """

    tokens: list[int]
    text: str
    finish_reason: FinishReason
    lossless: bool
    forwards: int
    rows: int
    open_tokens: int
    pad_tokens: int
    skipped_sections: tuple[str, ...] = ()
    branches: tuple[Generation, ...] = ()
    spread: tuple[float, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None

    @property
    def accepted_per_forward(self) -> float:
        return self.open_tokens / self.forwards if self.forwards else 0.0
