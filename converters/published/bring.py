"""`edge import`: a published checkpoint as a folder of ours.

Weights are renamed shard by shard, so that no more than one is in memory; what is missing, left over or of another shape than the
config demands is said before anything is written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoConfig

from converters.carried import carry
from converters.published.formats import named as renamed
from converters.published.formats import of
from edge.core.blockspec import CONFIG_KEY, BlockSpec
from edge.core.config import explain
from edge.core.errors import CheckpointError, InputError
from edge.core.progress import progress
from edge.models.loading import CONFIG, INDEX, SINGLE, mismatch, reason

HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Brought:
    """What was made. family: of the format; renamed: weights under another name than they came with."""

    folder: Path
    family: str
    architecture: str
    spec: BlockSpec
    weights: int
    renamed: int
    copied: tuple[str, ...]


def bring(source: Path, out: Path, block_size: int | None = None, show: bool = True) -> Brought:
    """Import `source` into `out`. Raises CheckpointError, UnsupportedError and InputError with one line."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; choose another folder")
    config = _config(source)
    found = of(config, str(source))
    architecture, stock = found.base(config)
    shards = _shards(source)
    shapes = {key: shape for file in shards for key, shape in _shapes(file)}
    names = renamed(shapes, found.key)
    spec = _spec(found.spec(config, block_size), stock, source)
    stock[CONFIG_KEY] = spec.model_dump(mode="json")
    placed = {names[k]: s for k, s in shapes.items() if k in names}
    _check(source, stock, architecture, placed, [k for k in shapes if k not in names])
    work = out.with_name(out.name + ".partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    places = _rewrite(shards, names, work, show)
    if len(shards) > 1:
        size = sum((work / f).stat().st_size for f in set(places.values()))
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
        (work / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    (work / CONFIG).write_text(json.dumps(stock, indent=2) + "\n", encoding="utf-8")
    copied = tuple(carry(source, work))
    if out.exists():
        out.rmdir()
    work.rename(out)
    moved = sum(old != new for old, new in names.items())
    return Brought(out, found.name, architecture, spec, len(names), moved, copied)


def _config(source: Path) -> dict[str, Any]:
    try:
        config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise CheckpointError(
            f"{source / CONFIG}: cannot be read ({reason(e)}); give the folder of a published checkpoint"
        ) from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{source / CONFIG}: must hold a JSON object")
    if CONFIG_KEY in config:
        raise InputError(f"{source}: is a checkpoint of ours already: its config has {CONFIG_KEY!r}")
    return config


def _shards(source: Path) -> list[Path]:
    if (source / SINGLE).exists():
        return [source / SINGLE]
    try:
        index = json.loads((source / INDEX).read_text(encoding="utf-8"))["weight_map"]
        return [source / name for name in sorted(set(index.values()))]
    except (OSError, ValueError, KeyError, AttributeError):
        loose = sorted(source.glob("*.safetensors"))
        if loose:
            return loose  # DiffusionVL's converter writes the parts without an index
        raise CheckpointError(
            f"{source}: holds neither {SINGLE} nor {INDEX}; pickles are not read, save it as safetensors"
        ) from None


def _shapes(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 (not a dict)
                yield key, tuple(opened.get_slice(key).get_shape())
    except (SafetensorError, OSError) as e:
        raise CheckpointError(f"{file}: not a complete safetensors file ({reason(e)}); copy it again") from None


def _spec(told: dict[str, Any], stock: dict[str, Any], source: Path) -> BlockSpec:
    vocabulary = (stock.get("text_config") or {}).get("vocab_size", stock.get("vocab_size"))
    if isinstance(vocabulary, int) and told["mask_token_id"] >= vocabulary:
        mask = told["mask_token_id"]
        raise CheckpointError(
            f"{source}: its mask token {mask} lies beyond the vocabulary of {vocabulary}; say mask_token_id in its config.json"
        )
    try:
        return BlockSpec.model_validate(told)
    except ValueError as e:
        raise CheckpointError(f"{source}: {explain(e)}") from None  # type: ignore[arg-type]


def _check(
    source: Path, stock: dict[str, Any], architecture: str, shapes: dict[str, tuple[int, ...]], placeless: list[str]
) -> None:
    """The weights against those of the stock class, whose own are never made."""
    try:
        kind = AutoConfig.for_model(**{k: v for k, v in stock.items() if k != CONFIG_KEY})
        with torch.device("meta"):
            wanted = getattr(transformers, architecture)(kind).state_dict()
    except Exception as e:  # a dozen types, all meaning that the config is not one
        raise CheckpointError(f"{source}: its config is refused by {architecture} ({reason(e)}); repair config.json") from None
    tied = bool(getattr(kind, "tie_word_embeddings", False) or getattr(kind.get_text_config(), "tie_word_embeddings", False))
    missing = [k for k in wanted if k not in shapes and not (k == HEAD and tied)]
    wrong = {k: s for k, s in shapes.items() if k in wanted and tuple(wanted[k].shape) != s}
    misfits = [f"{k} is {list(s)} and the config demands {list(wanted[k].shape)}" for k, s in wrong.items()]
    mismatch(source, missing, misfits, (), [*(k for k in shapes if k not in wanted), *placeless])


def _rewrite(shards: list[Path], names: dict[str, str], work: Path, show: bool) -> dict[str, str]:
    """Writes every shard under its weights' new names; returns which file each is in."""
    places: dict[str, str] = {}
    count = len(shards)
    for n, file in enumerate(progress(shards, count, "importing", show), 1):
        name = SINGLE if count == 1 else f"model-{n:05}-of-{count:05}.safetensors"
        with safe_open(file, framework="pt") as opened:
            tensors = {names[k]: opened.get_tensor(k).contiguous() for k in opened.keys() if k in names}  # noqa: SIM118 (not a dict)
        save_file(tensors, work / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
    return places
