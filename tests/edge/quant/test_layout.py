"""The JSON of both layouts: what is written is read, what is foreign is refused by name."""

from __future__ import annotations

import copy
import re
from fnmatch import fnmatchcase

import pytest

from edge.core.errors import UnknownNameError, UnsupportedError
from edge.quant.layout import SCHEMES, compressed_config, modelopt_config, modelopt_file, quantizes, read_scheme, scheme

INSIDE = ["model.layers.0.self_attn.q_proj", "model.language_model.layers.11.mlp.down_proj", "layers.3.mlp.gate_proj"]
OUTSIDE = [
    "lm_head",
    "model.embed_tokens",
    "visual.blocks.0.attn.qkv",
    "model.visual.merger.mlp.0",
    "model.layers.0.input_layernorm",
]
OUTSIDE += ["visual.blocks.1.mlp.down_proj", "model.layers.0.self_attn.q_norm"]


def test_what_is_written_is_read() -> None:
    assert read_scheme({}, None, "here") is None
    assert read_scheme({"quantization_config": compressed_config()}, None, "here") == SCHEMES["fp8-compressed"]
    assert read_scheme({"quantization_config": modelopt_config()}, modelopt_file(), "here") == SCHEMES["fp8-modelopt"]
    assert read_scheme({}, modelopt_file(), "here") == SCHEMES["fp8-modelopt"]
    assert scheme("fp8-modelopt").static_input
    assert not scheme("fp8-compressed").static_input


def test_both_files_of_modelopt_say_the_same() -> None:
    inner, outer = modelopt_config(("a",)), modelopt_file(("a",))
    assert inner["ignore"] == outer["quantization"]["exclude_modules"]
    assert (inner["quant_algo"], inner["producer"]) == (outer["quantization"]["quant_algo"], outer["producer"])


def test_tower_and_head_are_left_out_in_the_form_of_each_layout() -> None:
    assert all(quantizes(m) for m in INSIDE)
    assert not any(quantizes(m) for m in OUTSIDE)
    products = [m for m in OUTSIDE if "visual" in m or m == "lm_head"]
    regular = compressed_config()["ignore"]  # names, or patterns after "re:" matched from the start
    glob = modelopt_config()["ignore"]  # names with stars
    for module in [*INSIDE, *products]:
        by_regular = any(re.match(p[3:], module) if p.startswith("re:") else p == module for p in regular)
        by_glob = any(fnmatchcase(module, p) for p in glob)
        assert by_regular == by_glob == (module in products), module


def test_per_tensor_and_static_variants_are_read() -> None:
    config = compressed_config()
    group = config["config_groups"]["group_0"]
    group["weights"]["strategy"] = "tensor"
    group["input_activations"] |= {"strategy": "tensor", "dynamic": False}
    found = read_scheme({"quantization_config": config}, None, "here")
    assert found is not None
    assert (found.per_channel, found.static_input) == (False, True)


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "fp8", "fmt": "e4m3"}, "fp8 e4m3"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "NVFP4"),
        ({"quant_algo": "MXFP8"}, "MXFP8"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}}, "pack-quantized"),
    ],
)
def test_anything_else_is_refused(found: dict, named: str) -> None:
    with pytest.raises(UnsupportedError, match=named) as e:
        read_scheme({"quantization_config": copy.deepcopy(found)}, None, "folder")
    assert str(e.value).startswith("folder: ")
    assert "\n" not in str(e.value)


def test_an_unknown_layout_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fp8-modelopt'"):
        scheme("modelopt-fp8")
