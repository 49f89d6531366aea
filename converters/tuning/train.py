"""The loop over views of conversations: `edge convert` with a recipe that names a method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.conversations.encode import Encoded, Encoder
from converters.methods.views import total
from converters.run import quiet
from converters.tuning.base import RECORDS_FILE, Run, open_model
from converters.tuning.deck import Deck
from converters.tuning.recipe import Tuning
from converters.viewed import look, losses, prepare
from edge.core.errors import InputError
from edge.models.hf import TransformersModel
from edge.models.text import ChatTokenizer
from edge.training.loop import Loop, Means


def tune(recipe: Tuning, out: str | Path, *, show: bool = True) -> Path:
    """Convert into the folder `out` and return it; go on where an interrupted run of the same recipe stopped.

    Raises InputError for data, settings and a folder that cannot be used, CheckpointError for a base that cannot, TrainingError
    when the loss is not finite.
    """
    with quiet():
        run = Run.prepare(recipe, Path(out))
        if not run.finished:
            _Tuning(run, show).go()
    return run.path


class _Tuning(Loop[list[tuple[int, Encoded]]]):
    unit = "conversations"

    def __init__(self, run: Run, show: bool) -> None:
        self.run, recipe = run, run.recipe
        model = open_model(run.path, torch.float32)
        backbone = TransformersModel(model, run.spec, run.path)  # how it looks at pictures, on the same weights
        encoder = Encoder.of(backbone, ChatTokenizer.load(run.path, backbone.image_token_id), recipe.longest)
        self.deck = Deck.open(recipe.data, encoder, recipe.allowed, run.path / RECORDS_FILE, show)
        notes = run.path / f"eval-{RECORDS_FILE}"
        self.kept = Deck.open(recipe.eval_data, encoder, recipe.allowed, notes, show) if recipe.eval_data else None
        prepare(model)
        if recipe.trained == "language":
            model.requires_grad_(False)
            for part in (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings()):
                part.requires_grad_(True)
        super().__init__(run.path, model, recipe, show=show)
        self.device = torch.device(model.device)

    def batch(self, step: int) -> list[tuple[int, Encoded]]:
        recipe = self.run.recipe
        return [(card, self.deck.read(card)) for card in self.deck.chosen(recipe.seed, step, recipe.batch)]

    def loss(self, batch: list[tuple[int, Encoded]], step: int) -> tuple[Tensor, dict[str, float]]:
        recipe = self.run.recipe
        return self._loss([e for _, e in batch], np.random.default_rng((recipe.seed, step)), step / recipe.steps), {}

    def _loss(self, samples: list[Encoded], rng: np.random.Generator, progress: float) -> Tensor:
        """One view after the other, so that no row is padded; what all of them need for the gradient is kept until the step."""
        views = self.run.method.views([s.sample for s in samples], rng, progress)
        each = len(views) // len(samples)
        if each * len(samples) != len(views):
            raise InputError(f"{self.run.recipe.method}: makes {len(views)} views of {len(samples)} samples")
        found = []
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.run.recipe.precision == "bf16-autocast"):
            for n, sample in enumerate(samples):
                sight = look(self.model, sample.sample, self._placed(sample.pictures)) if sample.pictures else None
                for view in views[n * each : (n + 1) * each]:
                    found += losses(self.model, [view], None if sight is None else [sight])
        return total(found, views)

    def _placed(self, pictures: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: t.to(self.device) for k, t in pictures.items()}

    def name(self, batch: list[tuple[int, Encoded]]) -> str:
        return ", ".join(self.deck.name(card) for card, _ in batch)

    def held_out(self) -> dict[str, float] | None:
        """Always the same records and the same noise."""
        if self.kept is None:
            return None
        means, recipe = Means(), self.run.recipe
        cards = self.kept.spread(recipe.eval_records)
        for first in range(0, len(cards), recipe.batch):
            part = [self.kept.read(card) for card in cards[first : first + recipe.batch]]
            means.add({"loss": float(self._loss(part, np.random.default_rng((recipe.seed, first, 1)), 1.0))}, len(part))
        return means.read()

    def export(self, weights: dict[str, Tensor]) -> None:
        self.run.export(self.model, weights)

    def summary(self) -> dict[str, Any]:
        recipe = self.run.recipe
        return {
            "method": recipe.method,
            "steps": recipe.steps,
            "records": len(self.deck),
            "trained": sum(p.numel() for p in self.state.parameters.values()),
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }
