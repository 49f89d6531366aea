"""Strategies by name, and their options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from decoding.rules import Pick
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError, UnknownNameError
from edge.core.registry import Registry
from edge.core.types import Canvas, Strategy

STRATEGIES: Registry[Callable[..., Strategy]] = Registry("edge.strategies", "strategy")
SCAFFOLD = "scaffold"
"""The name that Fast-dDrive gives self-speculation under a schema."""
Start = Callable[[Canvas, BlockSpec, Pick], Strategy]
"""Makes a strategy for a canvas."""


def resolve(name: str, schema: Any) -> str:
    """The registered name of a strategy that was asked for with this schema or None. Raises InputError, UnknownNameError."""
    if name == SCAFFOLD and schema is None:
        raise InputError(f"strategy {SCAFFOLD!r} is self-speculation with a schema: give a schema, or take 'self-spec'")
    if name == SCAFFOLD:
        return "self-spec"
    STRATEGIES.get(name)
    return name


def prepared(name: str, options: Mapping[str, Any]) -> Start:
    """Strategy `name` with `options` of its own. Raises UnknownNameError and InputError for options that it cannot have."""
    function = STRATEGIES.get(name)
    known = {p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY} - {"pick"}
    for option, value in options.items():
        if option not in known:
            raise UnknownNameError(f"option of strategy {name!r}", option, known)
        if option == "block_size" and not (isinstance(value, int) and value >= 1):
            raise InputError(f"block_size must be a positive integer: got {value!r}")
        if option == "branches" and not (isinstance(value, int) and value >= 0):
            raise InputError(f"branches must be 0 or more: got {value!r}")
        if option == "threshold" and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise InputError(f"threshold must be a probability: got {value!r}")
    return lambda canvas, spec, pick: function(canvas, spec, pick=pick, **options)
