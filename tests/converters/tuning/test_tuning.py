"""Families convert on conversations: unchanged before training, a falling loss, exact resume, stock checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image

import edge
from converters.methods.named import METHODS
from converters.tokenizer import IMAGE, MASK, STOP, VIDEO, VISION_END, VISION_START, NanoTokenizer
from converters.tuning import train
from converters.tuning.base import Run, open_model
from converters.tuning.recipe import Talk, Tuning
from edge.cli.main import run
from edge.cli.zoo import NANO_PARENT, NANO_PLANNER
from edge.core.blockspec import CONFIG_KEY
from edge.core.config import to_toml
from edge.core.errors import EdgeError, InputError
from edge.training.optimiser import Optimiser

TOKENIZER = NanoTokenizer.load(NANO_PLANNER)
SMALL: dict[str, Any] = {
    "vocab_size": 576,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": TOKENIZER.id(STOP),
}
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}
QWEN = {
    "image_token_id": TOKENIZER.id(IMAGE),
    "video_token_id": TOKENIZER.id(VIDEO),
    "vision_start_token_id": TOKENIZER.id(VISION_START),
    "vision_end_token_id": TOKENIZER.id(VISION_END),
}
EYES = {"depth": 2, "hidden_size": 32, "intermediate_size": 40, "num_heads": 2, "out_hidden_size": 32, "patch_size": 14}


def qwen2_vl() -> Any:
    vision = {"depth": 2, "embed_dim": 24, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    return hf.Qwen2VLForConditionalGeneration(hf.Qwen2VLConfig(text_config=SMALL | MROPE, vision_config=vision, **QWEN))


def qwen2_5_vl() -> Any:
    vision = EYES | {"fullatt_block_indexes": [1], "window_size": 56}
    return hf.Qwen2_5_VLForConditionalGeneration(hf.Qwen2_5_VLConfig(text_config=SMALL | MROPE, vision_config=vision, **QWEN))


def qwen3_vl() -> Any:
    vision, text = EYES | {"deepstack_visual_indexes": [0]}, SMALL | MROPE | {"head_dim": 8}
    return hf.Qwen3VLForConditionalGeneration(hf.Qwen3VLConfig(text_config=text, vision_config=vision, **QWEN))


BASES: dict[str, Callable[[], Any]] = {
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SMALL, tie_word_embeddings=True)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SMALL, head_dim=8)),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL | {"vocab_size": len(TOKENIZER)})),  # no row is free
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
}
SEEING = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def base(folder: Path, name: str) -> Path:
    torch.manual_seed(0)
    model = BASES[name]().bfloat16()
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json"):
        shutil.copy2(NANO_PLANNER / file, folder / file)
    return folder


def talk(folder: Path, pictures: bool) -> Path:
    """Eight questions, each with its answer."""
    file = folder / "talk.jsonl"
    names = ("red", "blue", "green", "white", "black", "grey", "pink", "brown")
    rows = []
    for n, name in enumerate(names):
        Image.new("RGB", (56 + 28 * (n % 2), 56), name).save(folder / f"{name}.png")
        asked = {"from": "human", "value": ("<image>\n" if pictures else "") + f"Is it {name}?"}
        rows.append(
            {"conversations": [asked, {"from": "gpt", "value": f"It is {name}, yes."}]}
            | ({"image": f"{name}.png"} if pictures else {})
        )
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def recipe(folder: Path, name: str, method: str = "fast_dvlm", **more: Any) -> Tuning:
    settings = {"block_size": 8} if "block_size" in METHODS["fast_dvlm" if method not in METHODS else method].model_fields else {}
    told: dict[str, Any] = {
        "base": base(folder / "base", name),
        "method": method,
        "settings": settings | ({"anneal": False} if method == "fast_dvlm" else {}),
        "data": (Talk(file=talk(folder, name in SEEING)),),
        "longest": 128,
        "steps": 20,
        "batch": 4,
        "threads": 1,
        "log_every": 5,
        "checkpoint_every": 5,
        "precision": "fp32",
        "optimiser": Optimiser(lr=1e-2, warmup=0),
    }
    return Tuning(**told | more)


def lost(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", BASES)
def test_a_base_converts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = recipe(tmp_path, name)
    made = Run.prepare(told, tmp_path / "run")
    parent, child = open_model(told.base, torch.float32), open_model(made.path, torch.float32)
    ids = torch.tensor([TOKENIZER.encode("It is red, yes.")])
    with torch.no_grad():
        before, after = parent(input_ids=ids).logits, child(input_ids=ids).logits
    known = len(TOKENIZER)
    assert torch.equal(before[..., :known], after[..., :known])  # what a conversion adds changes nothing that was there
    assert made.spec.mask_token_id == known
    assert made.spec.causal_mode

    train.tune(told, tmp_path / "run", show=False)
    found = lost(tmp_path / "run")
    assert len(found) == 4
    assert found[-1] < 0.8 * found[0]

    stopped, real = 0, train._Tuning.loss

    def killed(self: Any, batch: Any, step: int) -> Any:
        nonlocal stopped
        if step == 12 and not stopped:
            stopped += 1
            raise KeyboardInterrupt
        return real(self, batch, step)

    monkeypatch.setattr(train._Tuning, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        train.tune(told, tmp_path / "other", show=False)
    train.tune(told, tmp_path / "other", show=False)
    for file in ("model.safetensors", "metrics.jsonl", "config.json", "tokenizer.json", "records.json"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "other" / file).read_bytes(), file

    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["architectures"] == [type(parent).__name__]
    tied = parent.get_input_embeddings().weight is parent.get_output_embeddings().weight
    again = open_model(tmp_path / "run", torch.float32)
    assert (again.get_input_embeddings().weight is again.get_output_embeddings().weight) == tied
    engine = edge.load(tmp_path / "run", adapter="transformers", dtype="float32")
    prompt = [{"role": "user", "content": "Is it blue?"}]
    ar, fast = (engine.generate(prompt, strategy=s, max_new_tokens=16) for s in ("ar", "self-spec"))
    assert ar.tokens == fast.tokens
    ids = torch.tensor([engine.ids(prompt)])
    stock = again.generate(ids, max_new_tokens=16, do_sample=False, eos_token_id=TOKENIZER.id(STOP))[0, ids.shape[1] :].tolist()
    assert [t for t in stock if t != TOKENIZER.id(STOP)] == [t for t in ar.tokens if t != TOKENIZER.id(STOP)]


@pytest.mark.parametrize("method", [m for m in METHODS if m != "fast_ddrive"])
def test_a_method_trains_and_its_conventions_are_written(method: str, tmp_path: Path) -> None:
    told = recipe(
        tmp_path,
        "qwen2_5_vl",
        method,
        steps=15,
        optimiser=Optimiser(lr=5e-3, warmup=0),
        eval_data=(Talk(file=talk(tmp_path, True)),),
    )
    out = train.tune(told, tmp_path / "run", show=False)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["eval"]["loss"] > 0
    spec = json.loads((out / "config.json").read_text())[CONFIG_KEY]
    assert spec["causal_mode"] == (method in ("fast_dvlm", "tidar", "wedlm"))
    assert spec["grid_origin"] == ("absolute" if method in ("fast_dllm_v2", "diffusion_vl", "sdar", "sdar_vl") else "response")
    assert spec["draft_shift"] == (method in ("fast_dvlm", "fast_dllm_v2"))


def test_a_converted_checkpoint_is_trained_on(tmp_path: Path) -> None:
    """It keeps its mask token; and the vision tower, where the recipe says so."""
    told = recipe(tmp_path, "qwen2_5_vl", base=NANO_PARENT, steps=5, trained="language", optimiser=Optimiser(lr=1e-3, warmup=0))
    out = train.tune(told, tmp_path / "run", show=False)
    assert json.loads((out / "config.json").read_text())[CONFIG_KEY]["mask_token_id"] == TOKENIZER.id(MASK)
    old, new = (dict(open_model(p, torch.float32).named_parameters()) for p in (NANO_PARENT, out))
    moved = {k for k in old if not torch.equal(old[k], new[k])}
    assert moved
    assert not any("visual" in k for k in moved)
    assert json.loads((out / "training.json").read_text())["trained"] < sum(p.numel() for p in old.values())


def test_bad_records_end_a_run_or_are_told(tmp_path: Path) -> None:
    told = recipe(tmp_path, "qwen2_5_vl", steps=5)
    file = told.data[0].file
    file.write_text(file.read_text() + '\n{"conversations": []}')
    with pytest.raises(InputError, match=r"11\.1 % of 9 records cannot be used.*record 9"):
        train.tune(told, tmp_path / "run", show=False)
    shutil.rmtree(tmp_path / "run")
    out = train.tune(told.model_copy(update={"allowed": 0.2}), tmp_path / "run", show=False)
    [kept] = json.loads((out / "records.json").read_text())
    assert kept["good"] == list(range(8))
    assert any("record 9" in line for line in kept["report"])


def test_a_picture_that_goes_while_a_run_is_under_way(tmp_path: Path) -> None:
    told = recipe(tmp_path, "qwen2_5_vl", steps=5)
    made = Run.prepare(told, tmp_path / "run")
    loop = train._Tuning(made, False)
    for picture in tmp_path.glob("*.png"):
        picture.unlink()
    with pytest.raises(InputError, match=r"talk\.jsonl:\d+: names a picture that is not there .* put it back"):
        loop.go()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "fastdvlm", "settings": {}}, "did you mean 'fast_dvlm'"),
        ({"settings": {"block": 8}}, "settings of fast_dvlm: block"),
        ({"settings": {"mask_token_id": 3}}, "mask_token_id"),
        ({"longest": 100_000}, "may have 512 tokens in this model"),
        ({"base": Path("nowhere")}, "base is a checkpoint folder"),
    ],
)
def test_what_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=said):
        train.tune(recipe(tmp_path, "qwen2", **change), tmp_path / "run", show=False)


def test_edge_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = recipe(tmp_path, "qwen2", steps=5)
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(told.model_copy(update={"base": Path("elsewhere")})))
    out = tmp_path / "run"
    assert run(["convert", str(file), "--base", str(told.base), "--out", str(out)]) == 0
    assert (out / "training.json").exists()
    assert run(["convert", str(file), "--base", str(told.base), "--out", str(tmp_path / "new"), "--resume"]) == 2
    assert "nothing to resume" in capsys.readouterr().err
    assert run(["train", str(file), "--out", str(tmp_path / "new")]) == 2
    assert "edge convert" in capsys.readouterr().err
