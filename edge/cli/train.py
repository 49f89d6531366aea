"""`edge train` and `edge convert`: the two stages of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional, UseAppendAction


@dataclass(frozen=True)
class Stage:
    """What both stages are told."""

    recipe: Positional[Path]
    """TOML file."""
    out: Path
    """Folder of the checkpoint."""
    data: UseAppendAction[tuple[Path, ...]] = ()
    """Data set folder, or file of conversations if the recipe names a method, in its order; may be given several times."""
    base: Path | None = None
    """Checkpoint to start from instead of the recipe's."""
    resume: bool = False
    """Insist that there is a run to go on with."""

    def train(self, stage: Literal["ar", "convert"]) -> int:
        from edge.core.config import named_in
        from edge.core.errors import InputError
        from edge.training.state import STATE_FILE

        if self.resume and not (self.out / STATE_FILE).exists():
            raise InputError(f"{self.out}: nothing to resume there; leave out --resume to start")
        if named_in(self.recipe, "method"):
            return self.tune(stage)
        from converters.recipe import load
        from converters.train import train

        loaded = load(self.recipe, data=self.data or None, base=self.base)
        if loaded.stage != stage:
            command = "edge train" if loaded.stage == "ar" else "edge convert"
            raise InputError(f"{self.recipe}: stage is {loaded.stage!r}; run it with `{command}`")
        train(loaded, self.out)
        return 0

    def tune(self, stage: Literal["ar", "convert"]) -> int:
        """A recipe of conversations."""
        from converters.tuning.recipe import Tuning
        from converters.tuning.train import tune
        from edge.core.config import load_toml
        from edge.core.errors import InputError

        if stage == "ar":
            raise InputError(f"{self.recipe}: names a method of block diffusion; run it with `edge convert`")
        given = {"base": self.base, "data": [{"file": f} for f in self.data]}
        tune(load_toml(self.recipe, Tuning, {k: v for k, v in given.items() if v}), self.out)
        return 0


@dataclass(frozen=True)
class Train(Stage):
    """Train an autoregressive checkpoint by a recipe; a killed run goes on where its last checkpoint stands."""

    def run(self) -> int:
        return self.train("ar")


@dataclass(frozen=True)
class Convert(Stage):
    """Convert an autoregressive checkpoint to block diffusion by a recipe; resumes like `edge train`."""

    def run(self) -> int:
        return self.train("convert")
