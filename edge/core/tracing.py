"""Words for traces of decoding: what a forward can be, and what can become of a row in it. No torch: files are read without it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Kind = Literal["prefill", "step", "draft", "denoise", "verify", "fused"]
"""prefill: rows that are decided, the prompt's among them; step: decided rows behind the prompt (a causal step, or the commit of a
denoised block); denoise: masked rows, some of which this forward decides; draft: masked rows, none of which it does; verify:
guesses on the trunk; fused: rows on the trunk, and a draft beside them."""


class State(StrEnum):
    """What an answer row is after a forward. One letter a row makes the answer a short string."""

    FROZEN = "f"
    """Given by the scaffold, or a literal whose place is certain."""
    DECIDED = "d"
    """Decided by an earlier forward."""
    ACCEPTED = "a"
    """Shown as a guess and decided as such by this forward."""
    CORRECTED = "c"
    """Shown as a guess and decided otherwise."""
    NEW = "n"
    """Decided by this forward without having been guessed."""
    SETTLED = "s"
    """Decided behind those: the constraint left one id, given the rows before."""
    REJECTED = "r"
    """Shown as a guess and still open, or gone with the end of the answer."""
    GUESSED = "g"
    """Predicted by this forward and still open."""
    OPEN = "."
    GONE = "-"
    """Behind an end of the answer that this forward found."""
