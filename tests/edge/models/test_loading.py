"""Folders that load, and the one line that is said about every folder that does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge.core.errors import CheckpointError, EdgeError, InputError, UnknownNameError, UnsupportedError
from edge.models.lean import LeanModel
from edge.models.loading import load_model, resolve_dtype
from edge.models.session import Session
from tests.edge.models import tiny

WEIGHTS, ADAPTERS = "model.safetensors", ("lean", "transformers")


@pytest.fixture
def folder(checkpoint: Callable[..., Any], tmp_path: Path) -> Callable[[str], Path]:
    """A private copy of a checkpoint, to be spoiled."""

    def copy(kind: str = "qwen2") -> Path:
        return Path(shutil.copytree(checkpoint(kind)[1], tmp_path / kind))

    return copy


def last_logits(path: Path, adapter: str = "lean") -> torch.Tensor:
    rows = tiny.rows("causal", torch.tensor(tiny.tokens(12)))
    call = rows.call()
    return Session(load_model(path, device="cpu", adapter=adapter), rows.tokens, capacity=20).forward(call).logits


def edit_config(path: Path, **changes: Any) -> None:
    file = path / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(path / WEIGHTS)
    change(tensors)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path / WEIGHTS, metadata={"format": "pt"})


# ---- what loads ------------------------------------------------------------------------------------------------------------


def test_conventions_travel_with_the_folder(backbone: Callable[..., Any]) -> None:
    spec = backbone("qwen2").spec
    assert (spec.block_size, spec.mask_token_id, spec.vocab_limit, spec.stop_ids) == (4, tiny.MASK, tiny.LIMIT, (2,))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_shards(adapter: str, checkpoint: Callable[..., Any], tmp_path: Path) -> None:
    model, whole = checkpoint("qwen2")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(last_logits(tmp_path, adapter), last_logits(whole, adapter))


@pytest.mark.parametrize(
    ("style", "adapter"),
    [("model.language_model.", "lean"), ("language_model.model.", "lean"), ("model.language_model.", "transformers")],
)
def test_other_spellings_of_vlm_keys(style: str, adapter: str, folder: Callable[..., Path]) -> None:
    path = folder("qwen2_5_vl")

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for key in list(tensors):
            if key.startswith("model."):
                tensors[style + key.removeprefix("model.")] = tensors.pop(key)
            elif key.startswith("visual.") and style.startswith("model."):
                tensors["model." + key] = tensors.pop(key)
            elif key == "lm_head.weight" and style.startswith("language_model."):
                tensors["language_model.lm_head.weight"] = tensors.pop(key)

    wanted = last_logits(path, adapter)
    edit_weights(path, rename)
    assert torch.equal(last_logits(path, adapter), wanted)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_tied_head_that_was_written_out_is_ignored(adapter: str, folder: Callable[..., Path]) -> None:
    path = folder("qwen2-tied")
    wanted = last_logits(path, adapter)
    edit_weights(path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert torch.equal(last_logits(path, adapter), wanted)


@pytest.mark.parametrize(
    ("asked", "device", "config", "wanted"),
    [
        (None, "cpu", {"dtype": "bfloat16"}, torch.float32),
        (None, "cuda", {"dtype": "float16"}, torch.float16),
        (None, "cuda", {"torch_dtype": "bfloat16"}, torch.bfloat16),
        (None, "cuda", {}, torch.bfloat16),
        ("float64", "cpu", {}, torch.float64),
        (torch.bfloat16, "cpu", {}, torch.bfloat16),
        ("torch.float32", "cuda", {}, torch.float32),
    ],
)
def test_dtype(asked: Any, device: str, config: dict[str, str], wanted: torch.dtype) -> None:
    assert resolve_dtype(asked, torch.device(device), config) == wanted


def test_buffers_of_old_checkpoints_are_ignored(folder: Callable[..., Path]) -> None:
    path = folder()
    edit_weights(path, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    load_model(path, device="cpu")


# ---- what does not ---------------------------------------------------------------------------------------------------------

QKV = "model.layers.1.self_attn.q_proj.weight"


def spoil_no_config(path: Path) -> None:
    (path / "config.json").unlink()


def spoil_config(path: Path) -> None:
    (path / "config.json").write_text('{"model_type": ')


def spoil_list(path: Path) -> None:
    (path / "config.json").write_text("[1]")


def spoil_weights_gone(path: Path) -> None:
    (path / WEIGHTS).unlink()


def spoil_pickle(path: Path) -> None:
    (path / WEIGHTS).rename(path / "pytorch_model.bin")


def spoil_truncated(path: Path) -> None:
    data = (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(data[: len(data) // 2])


def spoil_empty(path: Path) -> None:
    (path / WEIGHTS).write_bytes(b"")


def spoil_shard(path: Path) -> None:
    (path / WEIGHTS).unlink()
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def spoil_index(path: Path) -> None:
    (path / WEIGHTS).unlink()
    (path / "model.safetensors.index.json").write_text("{}")


def spoil_shape(path: Path) -> None:
    edit_weights(path, lambda t: t.update({QKV: t[QKV][:-1]}))


SPOILS: list[tuple[Callable[[Path], Any], str]] = [
    (spoil_no_config, r"config\.json: no such file; copy it from the base model"),
    (spoil_config, r"config\.json: not readable as JSON"),
    (spoil_list, r"config\.json: must hold a JSON object and holds a list"),
    (lambda p: edit_config(p, block_diffusion=None), "config.json has no 'block_diffusion' section.*`edge convert`"),
    (lambda p: edit_config(p, block_diffusion={"block_size": 4}), "'block_diffusion': mask_token_id: Field required"),
    (lambda p: edit_config(p, block_diffusion={"block_size": 0, "mask_token_id": 1}), "block_size: .*greater than 0"),
    (lambda p: edit_config(p, hidden_size="wide"), "config.json is refused by transformers"),
    (spoil_weights_gone, "holds neither model.safetensors nor model.safetensors.index.json; copy the weights there"),
    (spoil_pickle, "pytorch_model.bin is a pickle and is not read; save it again as safetensors"),
    (spoil_shard, r"model-00001-of-00002\.safetensors: no such file, though model.safetensors.index.json names it"),
    (spoil_index, r"index\.json: has no weight_map"),
    (spoil_truncated, r"model\.safetensors: not a complete safetensors file"),
    (spoil_empty, r"model\.safetensors: not a complete safetensors file"),
    (lambda p: edit_weights(p, lambda t: t.pop(QKV)), r"1 missing: .*layers\.1\.self_attn\.q_proj\.weight"),
    (lambda p: edit_config(p, num_hidden_layers=4, layer_types=None), r"12 missing: .*layers\.3\."),
    (lambda p: edit_weights(p, lambda t: t.update(extra=torch.ones(2))), "1 left over: extra"),
    (lambda p: edit_config(p, num_hidden_layers=2, layer_types=None), r"12 left over: .*layers\.2\."),
    (spoil_shape, r"1 of wrong shape: .*layers\.1\.self_attn\.q_proj\.weight is \[47, 48\] and the config demands \[48, 48\]"),
    (lambda p: edit_weights(p, lambda t: t[QKV].fill_(float("nan"))), r"1 with NaN or infinity: .*layers\.1\.self_attn\.q_proj"),
]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("spoil", "why"), SPOILS)
def test_one_line_for_every_broken_folder(
    spoil: Callable[[Path], Any], why: str, adapter: str, folder: Callable[..., Path]
) -> None:
    path = folder()
    spoil(path)
    with pytest.raises(CheckpointError, match=why) as e:
        load_model(path, device="cpu", adapter=adapter)
    assert "\n" not in str(e.value)
    assert str(path) in str(e.value)


def test_parts_of_the_vision_tower_are_missed_too(folder: Callable[..., Path]) -> None:
    path = folder("qwen2_5_vl")
    edit_weights(path, lambda t: t.pop("visual.merger.mlp.0.bias"))
    with pytest.raises(CheckpointError, match=r"1 missing: visual\.merger\.mlp\.0\.bias"):
        load_model(path, device="cpu")


def refusals(path: Path) -> Iterator[tuple[Callable[[], Any], type[EdgeError], str]]:
    yield lambda: load_model(path / "nowhere"), CheckpointError, "nowhere: no such folder; give the path of a checkpoint"
    yield lambda: load_model(path, adapter="laen"), UnknownNameError, "unknown adapter 'laen'; did you mean 'lean'?"
    yield lambda: load_model(path, dtype="int8"), InputError, "dtype must be one of float32, float64, bfloat16, float16: got 'int8'"
    edit_config(path, model_type="llama")
    yield lambda: load_model(path), UnsupportedError, "runs qwen2, qwen3, qwen2_5_vl: .*'llama'; load it with adapter=.transformers"


def test_refusals(folder: Callable[..., Path]) -> None:
    for attempt, kind, why in refusals(folder()):
        with pytest.raises(kind, match=why):
            attempt()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hidden_act": "gelu"}, "hidden_act .silu.: got 'gelu'"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type 'dynamic'"),
    ],
)
def test_options_that_the_lean_decoder_does_not_know(changes: dict[str, Any], why: str, folder: Callable[..., Path]) -> None:
    path = folder()
    edit_config(path, **changes)
    with pytest.raises(UnsupportedError, match=why):
        load_model(path, device="cpu")


def test_adapters_are_found_by_name(backbone: Callable[..., Any]) -> None:
    assert isinstance(backbone("qwen2"), LeanModel)
    assert type(backbone("qwen2", "transformers")).__name__ == "TransformersModel"
