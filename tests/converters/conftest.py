"""A tiny dataset folder, the checkpoint made for it, and both opened."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from converters import scratch
from converters import tokenizer as tok
from converters.data import Corpus
from converters.dataset import Folder
from converters.recipe import Recipe, Scratch, Source
from converters.run import tokenizer_texts
from converters.tokenizer import NanoTokenizer
from decoding.scaffold import Scaffold, build
from decoding.template import Choice, FreeText, Number, Template, TemplateSection, Text

TEMPLATE = Template(
    sections=(
        TemplateSection(name="objects", parts=(Text(text='{"car": "'), Choice(options=("yes", "no")), Text(text='", "why": "'))),
        TemplateSection(name="words", parts=(FreeText(budget=6), Text(text='"'))),
        TemplateSection(
            name="path",
            parts=(
                Text(text=', "path": "'),
                Number(integer_digits=2, decimals=1),
                Number(integer_digits=1, decimals=0),
                Text(text='"}'),
            ),
        ),
    )
)
SIZES = Scratch(
    hidden_size=32,
    layers=2,
    heads=2,
    kv_heads=1,
    intermediate_size=48,
    mrope_section=(2, 3, 3),
    vision_depth=2,
    vision_hidden=16,
    vision_heads=2,
    vision_intermediate=24,
    window_px=28,
    vocab_size=320,
    max_positions=512,
)


def write_dataset(folder: Path, count: int = 24, *, seed: int = 0) -> Path:
    """An "edge.sft/1" folder with random images, and labels that follow from the prompt."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images = rng.integers(0, 256, (count, 3, 56, 56, 3), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    with (folder / "records.jsonl").open("w") as f:
        for n in range(count):
            x = int(rng.integers(0, 90))
            prompt = f"go {'straight on' if n % 3 else 'left'}\n<image>\nspeed {x:02d}"
            values = ["yes" if x > 45 else "no", ["free", "a car", "slow now"][n % 3], f"+{x:02d}.5", f"-{x % 10}"]
            f.write(json.dumps({"id": f"r{n}", "prompt": prompt, "values": values, "extra": 1}) + "\n")
    meta = {"schema": "edge.sft/1", "records": count, "image_size": [56, 56], "cameras": 3, "planner": {"any": "thing"}}
    meta["template"] = TEMPLATE.model_dump(mode="json")
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def checkpoint(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random nano checkpoint. Its weights are scaled up, so that small mistakes show in its outputs."""
    folder = tmp_path_factory.mktemp("model") / "nano"
    opened = Folder.open(dataset)
    scratch.create(folder, SIZES, texts=tokenizer_texts([opened], 50), template=TEMPLATE, image_size=(56, 56), seed=1)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(6) if p.ndim > 1 else p.add_(torch.linspace(-0.3, 0.3, p.numel()))
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> NanoTokenizer:
    return NanoTokenizer.load(checkpoint)


@pytest.fixture(scope="session")
def scaffold(tokenizer: NanoTokenizer) -> Scaffold:
    return build(TEMPLATE, tokenizer, vocab_size=320, pad_token_id=tokenizer.id(tok.NULL), stop_id=tokenizer.id(tok.STOP))


@pytest.fixture(scope="session")
def corpus(dataset: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> Corpus:
    return Corpus.read([Source(path=dataset)], tokenizer, scaffold)


@pytest.fixture
def model(checkpoint: Path) -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)


@pytest.fixture
def recipe(dataset: Path) -> Recipe:
    """An AR run of a few steps."""
    return Recipe(
        stage="ar", scratch=SIZES, data=(Source(path=dataset),), steps=12, batch=2, threads=1, log_every=2, checkpoint_every=4
    )
