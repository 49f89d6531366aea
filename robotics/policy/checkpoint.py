"""A policy as a folder: `policy.json` and its weights, among them the limits of its normalisers.

A policy that sees has its vision-language model in a folder inside. Its fingerprint is that of the denoiser's form and weights:
what a cache schedule was solved for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edge.core.config import explain
from edge.core.errors import CheckpointError
from edge.training.state import write_bytes, write_tensors
from robotics.policy.config import PolicyConfig
from robotics.policy.policy import DiffusionPolicy

CONFIG_FILE, WEIGHTS_FILE, MODEL_FOLDER = "policy.json", "model.safetensors", "vlm"


def save(
    policy: DiffusionPolicy, folder: str | Path, weights: Mapping[str, Tensor] | None = None, precision: torch.dtype | None = None
) -> None:
    """Write a policy; weights: parameters that take the place of its own (averaged ones); precision: of parameters, where it is not
    to be their own: limits of normalisers stay as they are. The model of a policy that sees is not written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / CONFIG_FILE, (policy.config.model_dump_json(indent=2) + "\n").encode())
    tensors = {**policy.state_dict(), **(weights or {})}
    if precision is not None:
        tensors |= {name: tensors[name].to(precision) for name, _ in policy.named_parameters()}
    write_tensors(folder / WEIGHTS_FILE, tensors, {"format": "pt"})


def load(folder: str | Path) -> DiffusionPolicy:
    """A policy to act with. Raises CheckpointError, one line, for a folder that holds none, or a broken one."""
    folder = Path(folder)
    try:
        config = PolicyConfig.model_validate_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except OSError:
        raise CheckpointError(
            f"{folder}: no {CONFIG_FILE} there; give the folder of a policy (train one: `edge policy train`)"
        ) from None
    except ValidationError as e:
        raise CheckpointError(f"{folder / CONFIG_FILE}: {explain(e)}") from None
    policy = DiffusionPolicy(config) if config.sight is None else _seeing(config, folder / MODEL_FOLDER)
    try:
        policy.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, RuntimeError) as e:
        first = str(e).splitlines()[0]
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: not the weights of this policy ({first}); copy the folder anew") from None
    return policy.eval()


def _seeing(config: PolicyConfig, model: Path) -> DiffusionPolicy:
    from robotics.policy.vla import VLAPolicy  # brings the engine, which policies without a model do not need

    return VLAPolicy(config, model)


def fingerprint(policy: DiffusionPolicy) -> str:
    """16 hexadecimal digits of SHA-256 over form and weights."""
    digest = hashlib.sha256(json.dumps(policy.config.denoiser.model_dump(), sort_keys=True).encode())
    for name, t in sorted(policy.state_dict().items()):
        digest.update(name.encode() + t.detach().to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
