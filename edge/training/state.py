"""The state of a run on disk: written atomically, without pickle, so that a run killed at any moment goes on exactly.

One safetensors file holds weights, both moments of AdamW, averaged weights and the step, so the parts can never disagree.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edge.core.errors import CheckpointError

STATE_FILE = "state.safetensors"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old or the new one, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """`save_file`, atomically."""
    temporary = path.with_name(path.name + ".tmp")
    save_file({k: t.detach().contiguous() for k, t in tensors.items()}, temporary, metadata)
    with temporary.open("rb") as f:
        os.fsync(f.fileno())
    os.replace(temporary, path)


class TrainState:
    """Trained parameters under names, their optimiser, and averaged copies when `ema` is above 0."""

    def __init__(self, model: nn.Module, optimiser: torch.optim.AdamW, ema: float) -> None:
        self.parameters = {k: p for k, p in model.named_parameters() if p.requires_grad}  # tied weights appear once
        self.optimiser, self.decay = optimiser, ema
        self.average = {k: p.detach().clone() for k, p in self.parameters.items()} if ema else {}
        self.step = 0

    def advance(self) -> None:
        """Call after every optimiser step."""
        self.step += 1
        if self.average:
            # A young average follows closely: its memory is never longer than the run so far.
            keep = min(self.decay, self.step / (self.step + 10))
            for k, p in self.parameters.items():
                self.average[k].lerp_(p.detach(), 1 - keep)

    def exported(self) -> dict[str, Tensor]:
        """The weights that the checkpoint gets."""
        return self.average or {k: p.detach() for k, p in self.parameters.items()}

    def save(self, path: Path) -> None:
        tensors = {f"weight.{k}": p for k, p in self.parameters.items()}
        tensors |= {f"average.{k}": t for k, t in self.average.items()}
        for k, p in self.parameters.items():
            held = self.optimiser.state[p]
            tensors |= {f"first.{k}": held["exp_avg"], f"second.{k}": held["exp_avg_sq"]}
        write_tensors(path, tensors, {"step": str(self.step)})

    def load(self, path: Path) -> None:
        """Raises CheckpointError when the file is not that of this model."""
        try:
            with safe_open(path, framework="pt") as f:
                self.step = int((f.metadata() or {})["step"])
                with torch.no_grad():
                    for k, p in self.parameters.items():
                        p.copy_(f.get_tensor(f"weight.{k}"))
                        self.optimiser.state[p] = {
                            "step": torch.tensor(float(self.step)),
                            "exp_avg": f.get_tensor(f"first.{k}").clone(),
                            "exp_avg_sq": f.get_tensor(f"second.{k}").clone(),
                        }
                    for k, t in self.average.items():
                        t.copy_(f.get_tensor(f"average.{k}"))
        except (SafetensorError, OSError, KeyError, RuntimeError) as e:
            raise CheckpointError(f"{path}: not the state of this run ({e}); remove the folder and start again") from None
