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
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

import edge
from edge.core.blockspec import CONFIG_KEY
from serving.sglang_launch import LaunchError
from tests.serving.reference import expected, generate
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
    g = torch.Generator().manual_seed(3)
    for p in network.parameters():
        p.data = torch.randn(p.shape, generator=g) * 0.3 + (1.0 if p.dim() == 1 else 0.0)
    network.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(NANO / name, folder / name)
    return folder


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
