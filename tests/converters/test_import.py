"""Checkpoints in each published layout of keys and configs come in, say what they said before, and bring their conventions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

import edge
from converters.published.bring import bring
from edge.cli.main import run
from edge.core.blockspec import CONFIG_KEY
from edge.core.errors import CheckpointError, InputError, UnsupportedError
from tests.converters import test_viewed_pictures as seeing

MASK = 60
TEXT = {k: v for k, v in seeing.TEXT.items() if not k.endswith("token_id")} | {"tie_word_embeddings": False}


def qwen2(**more: Any) -> Any:
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**TEXT, **more))


def qwen3(**more: Any) -> Any:
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**TEXT, head_dim=8, **more))


def sdar_vl_model() -> Any:
    config = hf.LlavaOnevisionConfig(
        text_config=TEXT | {"model_type": "qwen3", "head_dim": 8},
        vision_config=seeing.SIGLIP | {"model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=seeing.IMAGE,
        image_grid_pinpoints=[[28, 28]],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return hf.LlavaOnevisionForConditionalGeneration(config)


def old_qwen_vl(key: str) -> str:
    return key.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def diffusion_vl(key: str) -> str:
    key = key.replace("model.visual.merger.", "model.mm_projector.merger.").replace(
        "model.visual.", "model.vision_tower.vision_tower."
    )
    return key.replace("model.language_model.", "model.")


def old_onevision(key: str) -> str:
    key = key.replace("model.language_model.", "language_model.model.").replace("lm_head.", "language_model.lm_head.")
    return (
        key.replace("model.vision_tower.", "vision_tower.")
        .replace("model.multi_modal_projector.", "multi_modal_projector.")
        .replace("model.image_newline", "image_newline")
    )


def same(key: str) -> str:
    return key


class Release:
    """How a family publishes. told: what its config says beside the model's own; spec: what has to come of it."""

    def __init__(
        self,
        make: Callable[[], Any],
        key: Callable[[str], str],
        told: dict[str, Any],
        spec: dict[str, Any],
        size: int | None = None,
    ):
        self.make, self.key, self.told, self.spec, self.size = make, key, told, spec, size


VL = {
    "grid_origin": "response",
    "prompt": "causal",
    "commit": "causal",
    "draft_shift": 1,
    "causal_mode": True,
    "position_mode": "mrope",
}
BLOCKS = {"grid_origin": "absolute", "prompt": "block", "commit": "block", "draft_shift": 0, "causal_mode": False}
RELEASES = {
    "Fast-dLLM v2": Release(
        qwen2,
        same,
        {"model_type": "Fast_dLLM_Qwen", "architectures": ["Fast_dLLM_QwenForCausalLM"], "bd_size": 16, "mask_token_id": MASK},
        BLOCKS | {"draft_shift": 1, "block_size": 16, "position_mode": "rope"},
    ),
    "Fast-dVLM": Release(
        seeing.qwen2_5_vl,
        old_qwen_vl,
        {"model_type": "fast_dvlm", "architectures": ["Fast_dVLMForConditionalGeneration"], "mask_token_id": MASK},
        VL | {"block_size": 32},
    ),
    "Fast-dDrive": Release(
        seeing.qwen2_5_vl,
        same,
        {"model_type": "fast_ddrive", "architectures": ["Fast_dDriveForConditionalGeneration"], "mask_token_id": MASK},
        VL | {"block_size": 32, "pad_token_id": 151666},
    ),
    "DiffusionVL": Release(
        seeing.qwen2_5_vl,
        diffusion_vl,
        {
            "model_type": "diffusionvl_qwenvl",
            "architectures": ["DiffusionVL_Qwen2_5_VL_ForConditionalGeneration"],
            "bd3lm_block_size": 8,
            "enable_bd3lm": True,
            "mask_token_id": MASK,
        },
        BLOCKS | {"block_size": 8, "position_mode": "flat1d"},
    ),
    "SDAR": Release(
        qwen3,
        same,
        {
            "model_type": "sdar",
            "architectures": ["SDARForCausalLM"],
            "block_size": 4,
            "mask_token_id": MASK,
            "fuse_cross_entropy": True,
        },
        BLOCKS | {"block_size": 4, "position_mode": "rope"},
    ),
    "SDAR-VL": Release(
        sdar_vl_model,
        old_onevision,
        {
            "model_type": "sdar_v",
            "architectures": ["LlavaOnevisionForConditionalGeneration"],
            "block_size": 8,
            "mask_token_id": MASK,
        },
        BLOCKS | {"block_size": 8, "position_mode": "rope"},
    ),
    "BARD-VL": Release(
        seeing.qwen3_vl,
        same,
        {"model_type": "bard_vl", "architectures": ["BardVLForConditionalGeneration"], "mask_token_id": MASK},
        BLOCKS | {"grid_origin": "response", "block_size": 16, "position_mode": "mrope"},
        size=16,
    ),
    "WeDLM": Release(
        qwen3,
        same,
        {"model_type": "wedlm", "architectures": ["WeDLMForCausalLM"], "qk_norm": True, "mask_token_id": MASK},
        VL | {"draft_shift": 0, "block_size": 32, "position_mode": "rope"},
    ),
}


def publish(name: str, folder: Path, shards: int = 2) -> Any:
    """Writes a tiny checkpoint as the family publishes it; returns the model."""
    torch.manual_seed(0)
    release = RELEASES[name]
    model = release.make().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    folder.mkdir(parents=True)
    config = model.config.to_dict() | release.told | {"auto_map": {"AutoModel": "modeling_x.X"}}
    if name == "SDAR-VL":
        config["text_config"] = config["text_config"] | {"model_type": "sdar", "auto_map": {}}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {release.key(k): v.contiguous().clone() for k, v in model.state_dict().items()}
    keys = sorted(tensors)
    index = {}
    for n in range(shards):
        part = keys[n::shards]
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        save_file({k: tensors[k] for k in part}, folder / file)
        index |= dict.fromkeys(part, file)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "modeling_x.py").write_text("raise SystemExit('remote code was run')")
    (folder / "tokenizer_config.json").write_text("{}")
    return model


def loaded(folder: Path, architecture: str) -> Any:
    model, info = getattr(hf, architecture).from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]  # noqa: PT018
    return model.eval()


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_comes_in(name: str, tmp_path: Path) -> None:
    release = RELEASES[name]
    model = publish(name, tmp_path / "release")
    found = bring(tmp_path / "release", tmp_path / "ours", release.size, show=False)
    assert found.family == name
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config[CONFIG_KEY] == found.spec.model_dump(mode="json")
    for field, value in (release.spec | {"mask_token_id": MASK}).items():
        assert getattr(found.spec, field) == value, field
    assert found.spec.stop_ids[0] == 151645
    assert "auto_map" not in config
    assert not list((tmp_path / "ours").glob("*.py"))
    assert (tmp_path / "ours" / "tokenizer_config.json").exists()
    again = loaded(tmp_path / "ours", found.architecture)
    ids = torch.randint(3, 40, (1, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize(("name", "strategy"), [("Fast-dVLM", "self-spec"), ("SDAR", "static"), ("Fast-dLLM v2", "threshold")])
def test_what_came_in_decodes(name: str, strategy: str, tmp_path: Path) -> None:
    publish(name, tmp_path / "release", shards=1)
    bring(tmp_path / "release", tmp_path / "ours", 4, show=False)
    engine = edge.load(tmp_path / "ours", adapter="transformers")
    prompt = [5, 6, 7, 8, 9]
    found = engine.generate(prompt, strategy=strategy, max_new_tokens=12)
    assert len(found.tokens) == 12
    assert MASK not in found.tokens
    assert found.lossless == (strategy == "self-spec")
    if found.lossless:
        assert found.tokens == engine.generate(prompt, strategy="ar", max_new_tokens=12).tokens


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    publish("SDAR", tmp_path / "release", shards=1)
    file = tmp_path / "release" / "model.safetensors"
    good = load_file(file)
    first = "model.layers.0.self_attn.q_proj.weight"

    def without() -> dict[str, torch.Tensor]:
        return {k: v for k, v in good.items() if k != first}

    for tensors, said in (
        (without(), f"1 missing: {first}"),
        (good | {"model.layers.0.extra": torch.zeros(2)}, "1 left over: model.layers.0.extra"),
        (without() | {first: torch.zeros(3, 5)}, f"{first} is \\[3, 5\\] and the config demands \\[32, 32\\]"),
    ):
        save_file(tensors, file)
        with pytest.raises(CheckpointError, match=said):
            bring(tmp_path / "release", tmp_path / "ours", show=False)
        assert not (tmp_path / "ours").exists()
    file.write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        bring(tmp_path / "release", tmp_path / "ours", show=False)


def test_what_is_no_release_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(**config: Any) -> Path:
        tmp_path.joinpath("c").mkdir(exist_ok=True)
        (tmp_path / "c" / "config.json").write_text(json.dumps(config))
        return tmp_path / "c"

    with pytest.raises(CheckpointError, match="is no published block-diffusion format"):
        bring(told(model_type="qwen2"), tmp_path / "o", show=False)
    with pytest.raises(UnsupportedError, match="LLaDA"):
        bring(told(model_type="llava_llada"), tmp_path / "o", show=False)
    with pytest.raises(InputError, match="is a checkpoint of ours already"):
        bring(told(model_type="sdar", block_diffusion={}), tmp_path / "o", show=False)
    publish("BARD-VL", tmp_path / "bard")
    with pytest.raises(CheckpointError, match="--block-size"):
        bring(tmp_path / "bard", tmp_path / "o", show=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="not empty"):
        bring(tmp_path / "bard", tmp_path / "full", 4, show=False)
    assert run(["import", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2
    assert "published checkpoint" in capsys.readouterr().err
    assert run(["import", str(tmp_path / "bard"), "--out", str(tmp_path / "o"), "--block-size", "16"]) == 0
    assert "BARD-VL as Qwen3VLForConditionalGeneration" in capsys.readouterr().err
