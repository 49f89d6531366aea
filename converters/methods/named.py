"""The methods by name, and what a checkpoint that was trained by one has to be decoded with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from pydantic import ValidationError

from converters.methods.diffusion_vl import DiffusionVL
from converters.methods.fast_ddrive import FastDdrive
from converters.methods.fast_dllm_v2 import FastDllmV2
from converters.methods.fast_dvlm import FastDvlm
from converters.methods.lavida import LaViDa
from converters.methods.sdar import Sdar, SdarVL
from converters.methods.tidar import TiDAR
from converters.methods.views import Sample, View
from converters.methods.wedlm import WeDLM
from edge.core.config import Frozen, explain
from edge.core.errors import InputError, UnknownNameError

METHODS: dict[str, type[Frozen]] = {
    "fast_dllm_v2": FastDllmV2,
    "fast_dvlm": FastDvlm,
    "fast_ddrive": FastDdrive,
    "diffusion_vl": DiffusionVL,
    "lavida": LaViDa,
    "sdar": Sdar,
    "sdar_vl": SdarVL,
    "tidar": TiDAR,
    "wedlm": WeDLM,
}
BLOCK = 32
"""Of a method without blocks, at decoding."""

CAUSAL = {"grid_origin": "response", "prompt": "causal", "commit": "causal", "causal_mode": True}
BLOCKS = {"grid_origin": "absolute", "prompt": "block", "commit": "block", "causal_mode": False}
WHOLE = {"grid_origin": "response", "prompt": "full", "commit": "none", "causal_mode": False}


class Method(Protocol):
    """What a paper does to samples."""

    mask_token_id: int

    def views(self, samples: Sequence[Sample], rng: np.random.Generator, progress: float = 1.0) -> list[View]:
        """progress: 0 to 1, how far the run is; all targets' weights together are the batch's loss."""
        ...


def method(name: str, settings: dict[str, Any], mask_token_id: int, stop_id: int) -> Any:
    """The `Method` of that name. Raises UnknownNameError, and InputError for a setting that it does not have."""
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS)
    kind = METHODS[name]
    ids = {"mask_token_id": mask_token_id, "stop_id": stop_id}
    try:
        return kind(**{k: v for k, v in ids.items() if k in kind.model_fields}, **settings)
    except (ValidationError, TypeError) as e:
        raise InputError(f"settings of {name}: {explain(e) if isinstance(e, ValidationError) else e}") from None


def conventions(made: Any) -> dict[str, Any]:
    """Fields of a `BlockSpec` that a method decides: block size, grid, attention, label shift, whether a causal mode is left."""
    block = getattr(made, "block_size", BLOCK)
    match made:
        case FastDvlm(causal_context=False):
            told, shift = BLOCKS | {"grid_origin": "response"}, 1
        case FastDvlm() | FastDdrive():
            told, shift = CAUSAL, 1
        case TiDAR():
            told, shift = CAUSAL, made.shift
        case WeDLM():
            told, shift = CAUSAL, 0
        case FastDllmV2():
            told, shift = BLOCKS, 1
        case LaViDa():
            told, shift = WHOLE, made.shift
        case _:
            told, shift = BLOCKS, 0
    return {"block_size": block, "draft_shift": shift, **told}
