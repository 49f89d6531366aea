"""`edge train` and `edge convert`: the two stages of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional, UseAppendAction


def _run(recipe: Path, out: Path, data: tuple[Path, ...], base: Path | None, resume: bool, stage: Literal["ar", "convert"]) -> int:
    from converters.recipe import load
    from converters.state import STATE_FILE
    from converters.train import train
    from edge.core.errors import InputError

    loaded = load(recipe, data=data or None, base=base)
    if loaded.stage != stage:
        command = "edge train" if loaded.stage == "ar" else "edge convert"
        raise InputError(f"{recipe}: stage is {loaded.stage!r}; run it with `{command}`")
    if resume and not (out / STATE_FILE).exists():
        raise InputError(f"{out}: nothing to resume there; leave out --resume to start")
    train(loaded, out)
    return 0


@dataclass(frozen=True)
class Train:
    """Train an autoregressive checkpoint by a recipe; a killed run goes on where its last checkpoint stands."""

    recipe: Positional[Path]
    """TOML file."""
    out: Path
    """Folder of the checkpoint."""
    data: UseAppendAction[tuple[Path, ...]] = ()
    """Data set folder, in the recipe's order; may be given several times."""
    base: Path | None = None
    """Checkpoint to start from instead of the recipe's."""
    resume: bool = False
    """Insist that there is a run to go on with."""

    def run(self) -> int:
        return _run(self.recipe, self.out, self.data, self.base, self.resume, "ar")


@dataclass(frozen=True)
class Convert:
    """Convert an autoregressive checkpoint to block diffusion by a recipe; resumes like `edge train`."""

    recipe: Positional[Path]
    """TOML file."""
    out: Path
    """Folder of the checkpoint."""
    data: UseAppendAction[tuple[Path, ...]] = ()
    """Data set folder, in the recipe's order; may be given several times."""
    base: Path | None = None
    """Checkpoint to start from instead of the recipe's."""
    resume: bool = False
    """Insist that there is a run to go on with."""

    def run(self) -> int:
        return _run(self.recipe, self.out, self.data, self.base, self.resume, "convert")
