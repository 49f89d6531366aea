"""The two FP8 layouts of checkpoint folders: what they say in JSON, and how such JSON is read.

    fp8-compressed   compressed-tensors "float-quantized" (llm-compressor's FP8_DYNAMIC): `weight_scale` [out, 1] per output
                     channel, activations scaled per token as they come. Read by SGLang, vLLM and this engine.
    fp8-modelopt     NVIDIA ModelOpt "FP8": one `weight_scale` and one calibrated `input_scale` per product. Read by SGLang,
                     vLLM, TensorRT-LLM, TensorRT Edge-LLM and this engine. It says the same twice: `hf_quant_config.json` for older
                     readers, `quantization_config` for newer ones.

Checked against the readers of SGLang 0.5.23, compressed-tensors 0.20 and the writer of ModelOpt 0.47.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.core.errors import UnknownNameError, UnsupportedError

HF_QUANT = "hf_quant_config.json"
PRODUCER = {"name": "modelopt", "version": "0.47.0"}
"""Readers tell the layout by the producer's name; the version is that of the form that is written."""
PRODUCTS = re.compile(r"(?:.*\.)?layers\.\d+\.(?:self_attn\.[qkvo]|mlp\.(?:gate|up|down))_proj")
"""Modules that are quantized: the products of the text decoder, under any prefix."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How numbers are stored. per_channel: weight scales per output channel, or one per tensor; static_input: activations have a
    calibrated scale per product, or one per token that is computed on the way."""

    layout: str
    per_channel: bool
    static_input: bool


SCHEMES = {
    "fp8-compressed": Scheme("fp8-compressed", per_channel=True, static_input=False),
    "fp8-modelopt": Scheme("fp8-modelopt", per_channel=False, static_input=True),
}


def scheme(layout: str) -> Scheme:
    """Raises UnknownNameError."""
    if layout not in SCHEMES:
        raise UnknownNameError("FP8 layout", layout, SCHEMES)
    return SCHEMES[layout]


def quantizes(module: str) -> bool:
    """Whether a module is among those that are quantized by default: no vision tower, head, embedding or norm is."""
    return PRODUCTS.fullmatch(module) is not None


def compressed_config(kept: tuple[str, ...] = ()) -> dict[str, Any]:
    """`quantization_config` of fp8-compressed. kept: further modules that stay as they are.

    A pattern begins with "re:" and is matched from the start of a module's name, so both spellings of the tower's prefix fit.
    """
    common = {"num_bits": 8, "type": "float", "symmetric": True, "group_size": None, "block_structure": None, "actorder": None}
    weights = common | {"strategy": "channel", "dynamic": False, "observer": "minmax", "observer_kwargs": {}}
    inputs = common | {"strategy": "token", "dynamic": True, "observer": None, "observer_kwargs": {}}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head", "re:.*visual.*", *kept],
    }


def modelopt_config(kept: tuple[str, ...] = ()) -> dict[str, Any]:
    """`quantization_config` of fp8-modelopt: what ModelOpt's own export puts there for `hf_quant_config.json`."""
    numbers = {"dynamic": False, "num_bits": 8, "type": "float"}
    return {
        "config_groups": {"group_0": {"input_activations": dict(numbers), "weights": dict(numbers), "targets": ["Linear"]}},
        "ignore": _modelopt_ignore(kept),
        "quant_algo": "FP8",
        "producer": PRODUCER,
        "quant_method": "modelopt",
    }


def modelopt_file(kept: tuple[str, ...] = ()) -> dict[str, Any]:
    """`hf_quant_config.json` of fp8-modelopt. The KV cache's precision is the server's choice, not the checkpoint's."""
    quantization = {"quant_algo": "FP8", "kv_cache_quant_algo": None, "exclude_modules": _modelopt_ignore(kept)}
    return {"producer": PRODUCER, "quantization": quantization}


def _modelopt_ignore(kept: tuple[str, ...]) -> list[str]:
    return ["lm_head", "model.visual*", "visual*", *kept]


def read_scheme(config: Mapping[str, Any], hf_quant: Mapping[str, Any] | None, where: str) -> Scheme | None:
    """The scheme that a checkpoint's parsed `config.json` (and `hf_quant_config.json`, if there is one) says; None for a plain one.

    Raises UnsupportedError, naming what was found, for any other quantization.
    """
    found = config.get("quantization_config") or config.get("compression_config")
    if found is None and hf_quant is not None:
        found = {"quant_method": "modelopt"} | dict(hf_quant.get("quantization") or {})
    if found is None:
        return None
    method = found.get("quant_method") or ("modelopt" if "quant_algo" in found else None)
    if method == "modelopt" and found.get("quant_algo") == "FP8":
        return SCHEMES["fp8-modelopt"]
    if method == "compressed-tensors":
        return _compressed(found, where)
    what = f"{method} {found.get('quant_algo') or found.get('fmt') or ''}".strip()
    raise UnsupportedError(
        f"{where}: quantized as {what}, and this engine reads {', '.join(SCHEMES)}; load the original checkpoint"
    )


def _compressed(found: Mapping[str, Any], where: str) -> Scheme:
    groups = list((found.get("config_groups") or {}).values())
    for group in groups:
        weights, inputs = group.get("weights") or {}, group.get("input_activations") or {}
        kind = (weights.get("type"), weights.get("num_bits"), inputs.get("type"), inputs.get("num_bits"))
        strategies = (weights.get("strategy"), inputs.get("strategy"), bool(inputs.get("dynamic")))
        if kind == ("float", 8, "float", 8) and strategies in _READABLE:
            return _READABLE[strategies]
    raise UnsupportedError(
        f"{where}: compressed-tensors format {found.get('format')!r} with {len(groups)} groups, and this engine reads "
        "float-quantized E4M3 weights per channel or tensor with activations per token or tensor; load the original checkpoint"
    )


_READABLE: dict[tuple[Any, Any, bool], Scheme] = {
    (weights, inputs, dynamic): Scheme("fp8-compressed", weights == "channel", not dynamic)
    for weights in ("channel", "tensor")
    for inputs, dynamic in (("token", True), ("tensor", False))
}
