"""What the engine makes of a prompt for others to look at: an action head, a probe."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

ANSWER_ROOM = 256
"""Tokens of an answer that the cache has room for behind an encoded prompt."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt in the cache.

    values: [P, layers * Hkv * D], of every prompt row what all layers keep of it: the values that attention mixes, which are linear
        in the layers' hidden states and, unlike keys, not turned by position. A copy on the CPU, in float32.
    tokens: the prompt's ids. cached: leading rows that an earlier request had computed.
    timings: milliseconds by phase: "vision", "prefill".
    """

    values: Tensor
    tokens: list[int]
    cached: int
    timings: dict[str, float] = field(default_factory=dict)
