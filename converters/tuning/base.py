"""The folder of a run, made from a base: its own weights, tokenizer and processor, a mask token, the method's conventions.

The embedding is the only weight that may grow, by the mask token's row where none is free; what other tokens say stays the same.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from converters.carried import carry
from converters.methods.named import conventions, method
from converters.tuning.recipe import Tuning
from edge.core.blockspec import CONFIG_KEY, BlockSpec
from edge.core.config import load_toml, to_toml
from edge.core.errors import CheckpointError, InputError
from edge.models.loading import reason
from edge.models.text import ChatTokenizer
from edge.training.loop import CURVE_FILE, LOG_FILE, METRICS_FILE, TRAINING_FILE

RECIPE_FILE, RECORDS_FILE = "recipe.toml", "records.json"
OWN = (RECIPE_FILE, RECORDS_FILE, TRAINING_FILE, METRICS_FILE, CURVE_FILE, LOG_FILE)
ROUND = 64
"""A grown embedding has a multiple of so many rows."""


def open_model(path: Path, dtype: torch.dtype) -> Any:
    """The folder's model under its stock class. Raises CheckpointError."""
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        auto: Any = AutoModelForImageTextToText if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING else AutoModelForCausalLM
        return auto.from_pretrained(path, dtype=dtype, local_files_only=True, use_safetensors=True, attn_implementation="sdpa")
    except Exception as e:  # transformers raises a dozen types here
        raise CheckpointError(f"{path}: transformers cannot load it ({reason(e)}); give the folder of a checkpoint") from None


@dataclass(frozen=True)
class Run:
    """A prepared folder."""

    recipe: Tuning
    path: Path
    spec: BlockSpec
    method: Any

    @classmethod
    def prepare(cls, recipe: Tuning, path: Path) -> Run:
        """Open the folder of an interrupted or finished run, or set up a new one.

        Raises InputError when the folder holds anything else or the run of another recipe, and for settings that the method does
        not have; CheckpointError for a base that cannot be used.
        """
        marker = path / RECIPE_FILE
        if marker.exists():
            if load_toml(marker, Tuning) != recipe:
                raise InputError(f"{path}: holds the run of another recipe (compare {RECIPE_FILE}); choose another folder")
        elif path.exists() and any(path.iterdir()):
            raise InputError(f"{path}: is not empty and holds no run; choose another folder")
        else:
            _set_up(recipe, path)
        spec = BlockSpec.from_config(json.loads((path / "config.json").read_text(encoding="utf-8")), str(path))
        return cls(recipe, path, spec, method(recipe.method, recipe.settings, spec.mask_token_id, spec.stop_ids[0]))

    @property
    def finished(self) -> bool:
        return (self.path / TRAINING_FILE).exists()

    def export(self, model: Any, weights: dict[str, Tensor]) -> None:
        """Replace the checkpoint's weights, in bf16, under the stock names; those that were not trained are the model's."""
        own: dict[str, Tensor] = model.state_dict()
        state = {k: weights.get(k, t).to(torch.bfloat16) for k, t in own.items()}
        with TemporaryDirectory(dir=self.path) as temporary:
            model.save_pretrained(temporary, state_dict=state)
            for file in sorted(Path(temporary).glob("model*.safetensors*")):
                file.chmod(0o644)
                os.replace(file, self.path / file.name)


def _set_up(recipe: Tuning, path: Path) -> None:
    """Fill a folder beside `path` and rename it: there is no half-made run."""
    base = recipe.base
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{base / 'config.json'}: cannot be read ({reason(e)}); base is a checkpoint folder") from None
    if "quantization_config" in config:
        raise CheckpointError(f"{base}: its weights are quantized; train on the checkpoint that they were made from")
    tokenizer = ChatTokenizer.load(base, None)
    stop = tokenizer.turns([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], ())[0][-1]
    method(recipe.method, recipe.settings, 0, stop)  # its settings are looked at before a large model is loaded
    model = open_model(base, torch.bfloat16)
    earlier = BlockSpec.from_config(config, str(base)) if CONFIG_KEY in config else None
    mask = _mask(model, tokenizer, recipe.mask_token) if earlier is None else earlier.mask_token_id
    made = method(recipe.method, recipe.settings, mask, stop)
    told = conventions(made) | {
        "position_mode": "mrope" if hasattr(getattr(model, "model", None), "get_rope_index") else "rope",
        "mask_token_id": mask,
        "pad_token_id": None if earlier is None else earlier.pad_token_id,
        "stop_ids": (stop,),
        "vocab_limit": len(tokenizer),
    }
    setattr(model.config, CONFIG_KEY, BlockSpec.model_validate(told).model_dump(mode="json"))
    work = path.with_name(path.name + ".setup")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    model.save_pretrained(work)
    tokenizer.save(work)
    for _ in carry(base, work, OWN):
        pass
    (work / RECIPE_FILE).write_text(to_toml(recipe), encoding="utf-8")
    if path.exists():
        path.rmdir()
    os.rename(work, path)


def _mask(model: Any, tokenizer: ChatTokenizer, name: str) -> int:
    """Id of the token of that name. A new one takes the first row that no token has, and begins as the mean of those that have."""
    token, new = tokenizer.named(name)
    if not new:
        return token
    rows = model.get_input_embeddings().num_embeddings
    if token >= rows:
        model.resize_token_embeddings(token + 1, pad_to_multiple_of=ROUND, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[token:] = layer.weight[:token].float().mean(0).to(layer.weight.dtype)
    return token
