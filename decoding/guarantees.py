"""What a strategy promises, attached to the function itself so that hosts need no table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def lossless(strategy: F) -> F:
    """Mark a strategy whose answer equals that of causal decoding under the same constraint, token for token."""
    strategy.lossless = True  # type: ignore[attr-defined]
    return strategy


def is_lossless(strategy: Callable[..., Any]) -> bool:
    return bool(getattr(strategy, "lossless", False))
