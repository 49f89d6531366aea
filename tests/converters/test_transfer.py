"""The change of an earlier conversion, added to a parent that was trained further."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from converters.recipe import Recipe, Source, Transfer, load, to_toml
from converters.run import Run
from edge.core.errors import CheckpointError

WEIGHTS = "model.safetensors"


def changed(source: Path, out: Path, by: float, name: str = "norm.weight") -> Path:
    """A copy of a checkpoint with every tensor whose name ends so moved by a number."""
    out.mkdir()
    for file in source.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    tensors = {k: t + by if k.endswith(name) else t for k, t in load_file(source / WEIGHTS).items()}
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    return out


def recipe(base: Path, parent: Path, child: Path, dataset: Path) -> Recipe:
    transfer = Transfer(parent=parent, child=child)
    return Recipe(stage="convert", base=base, transfer=transfer, steps=10, data=(Source(path=dataset),))


def test_a_run_starts_from_base_and_change(checkpoint: Path, dataset: Path, tmp_path: Path) -> None:
    base = changed(checkpoint, tmp_path / "base", 0.25)
    child = changed(checkpoint, tmp_path / "child", -0.5, "q_proj.weight")
    Run.prepare(recipe(base, checkpoint, child, dataset), tmp_path / "run")
    old, start = load_file(checkpoint / WEIGHTS), load_file(tmp_path / "run" / WEIGHTS)
    moved = set()
    for k, t in start.items():
        by = 0.25 * k.endswith("norm.weight") - 0.5 * k.endswith("q_proj.weight")
        torch.testing.assert_close(t.float(), old[k].float() + by, atol=0.02, rtol=0.01)  # written in bf16
        moved |= {by}
    assert moved == {0.0, 0.25, -0.5}


def test_refusals(checkpoint: Path, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone: no config\.json"):
        Run.prepare(recipe(checkpoint, tmp_path / "gone", checkpoint, dataset), tmp_path / "a")
    with pytest.raises(ValidationError, match="belongs to stage 'convert'"):
        Recipe(stage="ar", base=checkpoint, transfer=Transfer(parent=checkpoint, child=checkpoint), steps=1)


def test_a_recipe_keeps_it(checkpoint: Path, dataset: Path, tmp_path: Path) -> None:
    before = recipe(checkpoint, checkpoint, checkpoint, dataset)
    (tmp_path / "recipe.toml").write_text(to_toml(before))
    assert load(tmp_path / "recipe.toml") == before
