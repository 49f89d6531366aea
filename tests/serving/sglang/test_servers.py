"""Other algorithms and model classes, each on a server of its own; and a server that is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

import edge
from edge.core.blockspec import CONFIG_KEY
from edge.core.errors import UnsupportedError
from serving.sglang_launch import LaunchError
from tests.serving.reference import expected, generate, greedy_text
from tests.serving.requests import REQUESTS
from tests.serving.sglang.ask import choices, forwards, told
from tests.serving.sglang.conftest import BLOCK, FULL, NANO, openai_client, served

BARE = ("--skip-server-warmup",)
TEXT = [r for r in REQUESTS if r.kind in ("text", "seed") or (r.kind == "schema" and isinstance(r.messages[0]["content"], str))]
SAMPLE = REQUESTS if FULL else REQUESTS[::5]


@pytest.fixture(scope="module")
def threshold(logs: Path) -> Iterator[Any]:
    child = served(NANO, logs / "threshold.log", "EdgeThreshold", block_size=BLOCK, extra=BARE, threshold=0.8)
    try:
        child.wait(600)
        yield child
    finally:
        child.stop()


def test_threshold_decoding_is_that_of_the_embedded_engine(threshold: Any, engine: Any) -> None:
    client = openai_client(threshold)
    options = {"strategy": "threshold", "threshold": 0.8, "block_size": BLOCK}
    for r in SAMPLE:
        wanted = [expected(engine, r, choice=i, **options) for i in range(r.arguments.get("n", 1))]
        assert [(c.text, c.finish) for c in choices(client, r)] == wanted, r
    for r in (r for r in SAMPLE if r.kind in ("text", "image", "schema")):
        assert forwards(told(client, r.arguments)[0]) == generate(engine, r, **options).forwards


def test_block_causal_decoding_is_that_of_the_embedded_engine(tmp_path: Path, logs: Path) -> None:
    """The planner's weights under the conventions of a block-causal checkpoint, which they were not trained for."""
    folder = shutil.copytree(NANO, tmp_path / "block")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config[CONFIG_KEY] |= {"prompt": "block", "commit": "block", "grid_origin": "absolute", "block_size": 8, "causal_mode": False}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    engine = edge.load(folder, dtype="float32")
    child = served(folder, logs / "block.log", extra=BARE)
    try:
        child.wait(600)
        client = openai_client(child)
        for r in SAMPLE * 2:  # the second time over cached blocks
            wanted = [expected(engine, r, choice=i, strategy="threshold") for i in range(r.arguments.get("n", 1))]
            assert [(c.text, c.finish) for c in choices(client, r)] == wanted, r
    finally:
        child.stop()


def text_model(folder: Path, config: Any, model: Any, shift: int, **more: Any) -> Path:
    """Random weights over the nano planner's vocabulary, with its tokenizer."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    made = config(vocab_size=576, max_position_embeddings=2048, tie_word_embeddings=False, **sizes, **more)
    planner = edge.load(NANO).spec
    form = planner.model_copy(update={"block_size": 8, "position_mode": "rope", "draft_shift": shift})
    setattr(made, CONFIG_KEY, form.model_dump(mode="json"))
    network = model(made)
    scramble(network)
    network.save_pretrained(folder)
    copy_text(folder)
    return folder


def scramble(network: torch.nn.Module) -> None:
    g = torch.Generator().manual_seed(3)
    for p in network.parameters():
        p.data = torch.randn(p.shape, generator=g) * 0.3 + (1.0 if p.dim() == 1 else 0.0)


def copy_text(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(NANO / name, folder / name)


FORMS = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, 1, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, 0, {"head_dim": 16}),
}


@pytest.mark.parametrize("name", sorted(FORMS) if FULL else ["qwen3"])
def test_text_models_are_served(name: str, tmp_path: Path, logs: Path) -> None:
    config, model, shift, more = FORMS[name]
    folder = text_model(tmp_path, config, model, shift, **more)
    engine = edge.load(folder, dtype="float32")
    child = served(folder, logs / f"{name}.log", extra=BARE)
    try:
        child.wait(600)
        client = openai_client(child)
        for r in TEXT if FULL else TEXT[::4]:
            assert [(c.text, c.finish) for c in choices(client, r)] == [expected(engine, r, block_size=8)], r
    finally:
        child.stop()


def qwen3_vl(folder: Path) -> Any:
    """A small Qwen3-VL of random weights, deepstack and all, with the nano planner's tokenizer; as `transformers` loads it."""
    nano = json.loads((NANO / "config.json").read_text(encoding="utf-8"))
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True, "rope_theta": 10000.0}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    text = {"vocab_size": 576, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "rope_parameters": rope, **heads}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 16, "out_hidden_size": 64}
    vision |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64}
    ids = {k: v for k, v in nano.items() if k.endswith("token_id")}
    made = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    form = edge.load(NANO).spec.model_copy(update={"block_size": 8, "draft_shift": 0})
    setattr(made, CONFIG_KEY, form.model_dump(mode="json"))
    network = Qwen3VLForConditionalGeneration(made)
    scramble(network)
    network.save_pretrained(folder)
    copy_text(folder)
    pixels = json.loads((NANO / "preprocessor_config.json").read_text(encoding="utf-8"))
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels | {"patch_size": 16}), encoding="utf-8")
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype="float32").eval()


def test_qwen3_vl_is_served(tmp_path: Path, logs: Path) -> None:
    """Text and images, against greedy decoding by `transformers`: the embedded engine has no deepstack."""
    model = qwen3_vl(tmp_path)
    engine = edge.load(tmp_path, dtype="float32", adapter="transformers")
    with pytest.raises(UnsupportedError, match="deepstack"):  # rather than an answer that saw half of its images
        generate(engine, next(r for r in REQUESTS if r.kind == "image"))
    asked = [r for r in REQUESTS if r.kind in ("text", "image", "stop")]
    child = served(tmp_path, logs / "qwen3_vl.log", extra=BARE)
    try:
        child.wait(600)
        client = openai_client(child)
        for r in asked if FULL else asked[::5]:
            assert [(c.text, c.finish) for c in choices(client, r)] == [greedy_text(model, engine, r)], r
    finally:
        child.stop()


def test_a_server_without_the_plugin_does_not_start(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_PLUGINS", "none")
    child = served(NANO, logs / "bare.log", extra=BARE)
    try:
        with pytest.raises(LaunchError, match="before it was ready"):
            child.wait(600)
    finally:
        child.stop()


def test_a_killed_server_is_noticed_and_started_again(threshold: Any, engine: Any) -> None:
    first = threshold.pid
    os.kill(first, signal.SIGKILL)
    end = time.monotonic() + 60
    while threshold.ready:
        assert time.monotonic() < end, "nobody noticed"
        time.sleep(0.1)
    threshold.wait(600)
    assert threshold.restarts == 1
    assert threshold.pid != first
    r = REQUESTS[0]
    answer = choices(openai_client(threshold), r)[0]
    assert (answer.text, answer.finish) == expected(engine, r, strategy="threshold", threshold=0.8, block_size=BLOCK)
