"""How alike a policy's unit outputs are over the denoising steps: what caching schedules are solved from.

BAC records one query (arXiv 2506.13456, section 4.2); here are as many as one likes, so that the schedule's variance over queries
can be told. Shapes: `N` queries, `U` units, `T` denoising steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edge.core.errors import CheckpointError
from edge.training.state import write_tensors
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Evaluation

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Statistics:
    """similarity: [N, U, T, T], cosine of a unit's outputs at two steps; changes: [N, U], mean absolute difference of its outputs
    over all pairs of steps. Both of an uncached run of a sampler by the policy of this fingerprint.
    """

    fingerprint: str
    sampler: str
    steps: int
    similarity: F32
    changes: F32

    def save(self, path: str | Path) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "fingerprint": self.fingerprint,
            "sampler": self.sampler,
            "steps": str(self.steps),
        }
        tensors = {"similarity": torch.from_numpy(self.similarity), "changes": torch.from_numpy(self.changes)}
        write_tensors(path, tensors, told)

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Raises CheckpointError, one line, for a file of something else."""
        try:
            with safe_open(path, framework="np") as f:
                told = f.metadata()
                return cls(
                    told["fingerprint"],
                    told["sampler"],
                    int(told["steps"]),
                    f.get_tensor("similarity"),
                    f.get_tensor("changes"),
                )
        except (OSError, SafetensorError, KeyError, TypeError) as e:
            raise CheckpointError(f"{path}: no statistics of a policy ({e}); record them with `edge policy cache record`") from None


class Recorder:
    """A cache that reuses nothing and remembers every unit's outputs, of one query after the other."""

    def __init__(self) -> None:
        self.outputs: list[list[Tensor]] = []
        """By step, then unit: [B, H, E]."""

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        self.outputs = []

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h, found = evaluation.start(), []
        for u in range(evaluation.denoiser.units):
            found.append(evaluation.unit(u, h))
            h = h + found[-1]
        self.outputs.append(found)
        return evaluation.finish(h)

    def measured(self) -> tuple[F32, F32]:
        """Similarity [B, U, T, T] and changes [B, U] of the query."""
        x = torch.stack([torch.stack(step) for step in self.outputs])  # [T, U, B, H, E]
        x = x.flatten(3).permute(2, 1, 0, 3).float()  # [B, U, T, H E]
        unit = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        similarity = unit @ unit.transpose(-1, -2)
        changes = torch.cdist(x, x, p=1.0).mean(dim=(-1, -2)) / x.shape[-1]
        return similarity.numpy(), changes.numpy()
