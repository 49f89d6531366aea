"""The folder of a run: set up in one atomic step, exported into while training, always a loadable checkpoint.

config.json model.safetensors tokenizer.json ... preprocessor_config.json      what `edge.load` reads
template.json planner.json recipe.toml                                         what it was trained on, and how
metrics.jsonl loss.png progress.log training.json                              how it went; training.json: it is complete
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

from converters import scratch, transfer
from converters.dataset import Folder, open_all
from converters.losses import check_sections
from converters.recipe import Recipe, load, to_toml
from converters.tokenizer import NanoTokenizer
from decoding.scaffold import Scaffold, build
from decoding.template import Text
from edge.core.blockspec import CONFIG_KEY, BlockSpec
from edge.core.errors import CheckpointError, InputError
from edge.training.loop import CURVE_FILE, LOG_FILE, METRICS_FILE, TRAINING_FILE

RECIPE_FILE, TEMPLATE_FILE, PLANNER_FILE = "recipe.toml", "template.json", "planner.json"
WEIGHTS_FILE = "model.safetensors"
OWN = (RECIPE_FILE, TRAINING_FILE, TEMPLATE_FILE, PLANNER_FILE, METRICS_FILE, CURVE_FILE, LOG_FILE, "config.json")
"""Files of a base that a new run writes itself."""


@contextmanager
def quiet() -> Iterator[None]:
    """No bars of `transformers` beside our own."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@dataclass
class Run:
    """A prepared folder. image_size: height and width of each camera in pixels."""

    recipe: Recipe
    path: Path
    tokenizer: NanoTokenizer
    scaffold: Scaffold
    spec: BlockSpec
    image_size: tuple[int, int]

    @classmethod
    def prepare(cls, recipe: Recipe, path: Path) -> Run:
        """Open the folder of an interrupted or finished run, or set up a new one.

        Raises InputError when the folder holds anything else or the run of another recipe.
        """
        folders = open_all(recipe.data)
        sections = [s.name for s in folders[0].template.sections]
        check_sections(recipe.weights.sections, sections, "weights.sections")
        check_sections(recipe.noise.beta, sections, "noise.beta")
        marker = path / RECIPE_FILE
        if marker.exists():
            if load(marker) != recipe:
                raise InputError(f"{path}: holds the run of another recipe (compare {RECIPE_FILE}); choose another folder")
        elif path.exists() and any(path.iterdir()):
            raise InputError(f"{path}: is not empty and holds no run; choose another folder")
        else:
            _set_up(recipe, path, folders)
        tokenizer = NanoTokenizer.load(path)
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        spec = BlockSpec.from_config(config, str(path))
        vocab = Qwen2_5_VLConfig.from_pretrained(path).get_text_config().vocab_size
        stop = spec.stop_ids[0] if spec.stop_ids else None
        template = folders[0].template
        scaffold = build(template, tokenizer, vocab_size=vocab, pad_token_id=spec.pad_token_id, stop_id=stop)
        h, w = folders[0].meta["image_size"]
        return cls(recipe, path, tokenizer, scaffold, spec, (int(h), int(w)))

    @property
    def finished(self) -> bool:
        return (self.path / TRAINING_FILE).exists()

    def export(self, weights: dict[str, Tensor]) -> None:
        """Replace the checkpoint's weights, in bf16, in the names and layout of `save_pretrained`."""
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_pretrained(self.path))
        with torch.no_grad():
            own = dict(model.named_parameters())
            for k, t in weights.items():
                own[k].copy_(t)
        with TemporaryDirectory(dir=self.path) as temporary:
            model.bfloat16().save_pretrained(temporary)
            (Path(temporary) / WEIGHTS_FILE).chmod(0o644)
            os.replace(Path(temporary) / WEIGHTS_FILE, self.path / WEIGHTS_FILE)


def _set_up(recipe: Recipe, path: Path, folders: list[Folder]) -> None:
    """Fill a folder beside `path` and rename it: there is no half-made run."""
    work = path.with_name(path.name + ".setup")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    first = folders[0]
    if recipe.scratch is not None:
        h, w = (int(s) for s in first.meta["image_size"])
        texts = tokenizer_texts(folders, recipe.scratch.tokenizer_records)
        scratch.create(
            work, recipe.scratch, texts=texts, template=first.template, image_size=(h, w), seed=recipe.seed, block=recipe.block
        )
    else:
        assert recipe.base is not None
        _copy_base(recipe.base, work, recipe)
    (work / TEMPLATE_FILE).write_text(first.template.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if "planner" in first.meta:  # what the room of the data wants to find beside the weights; opaque here
        (work / PLANNER_FILE).write_text(json.dumps(first.meta["planner"], indent=2) + "\n", encoding="utf-8")
    (work / RECIPE_FILE).write_text(to_toml(recipe), encoding="utf-8")
    if path.exists():
        path.rmdir()
    os.rename(work, path)


def _copy_base(base: Path, work: Path, recipe: Recipe) -> None:
    """The base's tokenizer and processor as they are, its weights in bf16, its config with the recipe's block size."""
    if not (base / "config.json").exists():
        raise CheckpointError(f"{base}: no config.json there; base must be a checkpoint folder (train one with stage 'ar')")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    spec = BlockSpec.from_config(config, str(base))
    if config.get("model_type") != "qwen2_5_vl":
        raise CheckpointError(f"{base}: model_type must be 'qwen2_5_vl': got {config.get('model_type')!r}")
    if "quantization_config" in config:
        raise CheckpointError(f"{base}: its weights are quantized; train on the checkpoint that they were made from")
    for file in base.iterdir():
        if file.is_file() and file.name not in OWN and ".safetensors" not in file.name:
            shutil.copy2(file, work / file.name)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(base, dtype=torch.bfloat16)
    if recipe.transfer is not None:
        transfer.add(model, recipe.transfer)
    changed: dict[str, Any] = {**spec.model_dump(mode="json"), "block_size": recipe.block.size}
    setattr(model.config, CONFIG_KEY, changed)
    model.save_pretrained(work)


def tokenizer_texts(folders: list[Folder], count: int) -> list[str]:
    """Prompts and answer texts of `count` records spread evenly over all folders: what a tokenizer is trained on."""
    total = sum(len(f.records) for f in folders)
    out: list[str] = []
    for f in folders:
        literal = [p.text for s in f.template.sections for p in s.parts if isinstance(p, Text)]
        wanted = max(1, min(len(f.records), round(count * len(f.records) / total)))
        for i in range(wanted):
            record = f.records[i * len(f.records) // wanted]
            out += [record["prompt"], *map(str, record["values"]), *literal]
    return out
