"""Training and conversion of a checkpoint by a recipe: the common loop, on windows of data set folders.

A run is a folder. It holds a loadable checkpoint from its first second, the recipe, `metrics.jsonl` and `loss.png`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from converters.data import Batch, Corpus
from converters.forward import Forward
from converters.objective import NextToken, Objective
from converters.recipe import Recipe, with_data
from converters.run import Run, quiet
from edge.training.loop import Loop, Means


def train(recipe: Recipe, out: str | Path, data: Sequence[Path] | None = None, *, show: bool = True) -> Path:
    """Train into the folder `out` and return it; go on where an interrupted run of the same recipe stopped.

    data: folders that replace the recipe's; show: print progress. Raises InputError for a recipe, data or folder that cannot be
    used, CheckpointError for a base that cannot, TrainingError when the loss is not finite.
    """
    recipe = recipe if data is None else with_data(recipe, data)
    with quiet():
        run = Run.prepare(recipe, Path(out))
        if not run.finished:
            _Conversion(run, show).go()
    return run.path


class _Conversion(Loop[Batch]):
    unit = "windows"

    def __init__(self, run: Run, show: bool) -> None:
        self.run, self.recipe = run, run.recipe
        self.corpus = Corpus.read(self.recipe.data, run.tokenizer, run.scaffold)
        self.kept = Corpus.read(self.recipe.eval_data, run.tokenizer, run.scaffold) if self.recipe.eval_data else None
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(run.path, dtype=torch.float32)
        dtype = torch.bfloat16 if self.recipe.precision == "bf16-autocast" else torch.float32
        self.objective = _objective(self.recipe, run, Forward(model, run.image_size, dtype))
        super().__init__(run.path, model, self.recipe, show=show)

    def batch(self, step: int) -> Batch:
        recipe = self.recipe
        records = self.corpus.chosen(recipe.seed, step, recipe.batch)
        shares = {"strength": recipe.jitter, "dropout": recipe.prompt_dropout, "blank": recipe.image_dropout}
        return self.corpus.batch(records, **shares, seed=(recipe.seed, step))

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float]]:
        found = self.objective(batch, (self.recipe.seed, step), step / self.recipe.steps)
        return found.total, found.parts

    def name(self, batch: Batch) -> str:
        return ", ".join(batch.ids[:4]) + (f" and {len(batch.ids) - 4} more" if len(batch.ids) > 4 else "")

    def held_out(self) -> dict[str, float] | None:
        """Always the same records and the same noise."""
        if self.kept is None:
            return None
        count = min(self.recipe.eval_records, len(self.kept))
        records = [i * len(self.kept) // count for i in range(count)]
        means = Means()
        blind = float(self.recipe.blind)  # who never sees is measured without seeing
        for first in range(0, count, self.recipe.batch):
            part = records[first : first + self.recipe.batch]
            found = self.objective(self.kept.batch(part, blank=blind), (self.recipe.seed, first, 1), 1.0)
            means.add({"loss": float(found.total), **found.parts}, len(part))
        return means.read()

    def export(self, weights: dict[str, Tensor]) -> None:
        self.run.export(weights)

    def summary(self) -> dict[str, Any]:
        return {
            "stage": self.recipe.stage,
            "blind": self.recipe.blind,
            "steps": self.recipe.steps,
            "records": len(self.corpus),
            "records_per_epoch": self.corpus.deck_size,
            "answer_rows": len(self.run.scaffold),
            "frozen_rows": int(self.run.scaffold.frozen.sum()),
            "prompt_rows": sorted({len(p) for p in self.corpus.prompts}),
            "parameters": sum(p.numel() for p in self.state.parameters.values()),
        }


def _objective(recipe: Recipe, run: Run, forward: Forward) -> Objective:
    if recipe.stage == "ar":
        return NextToken(recipe, run.scaffold, forward)
    from converters.convert import BlockDiffusion

    return BlockDiffusion(recipe, run.scaffold, forward, run.spec)
