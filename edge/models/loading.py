"""Checkpoint folders: `config.json`, `BlockSpec`, safetensors. Nothing is unpickled and nothing is downloaded.

Every refusal is one line: the file, the rule, the value, the remedy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig

from edge.core.blockspec import BlockSpec
from edge.core.errors import CheckpointError, InputError, UnsupportedError
from edge.core.registry import Registry
from edge.models.backbone import Backbone
from edge.quant.e4m3 import DTYPE as FP8
from edge.quant.layout import HF_QUANT, Scheme, read_scheme

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
DTYPES = ("float32", "float64", "bfloat16", "float16")


class Adapter(Protocol):
    """A registered way to run a checkpoint."""

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Backbone:
        """Raises CheckpointError for missing or ill-fitting weights, UnsupportedError for an architecture it does not know."""
        ...


ADAPTERS: Registry[type[Adapter]] = Registry("edge.adapters", "adapter")


def load_model(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapter: str = "lean",
) -> Backbone:
    """Load a folder written by `save_pretrained` whose `config.json` has a `block_diffusion` section.

    device: None picks CUDA when there is one. dtype: a name or torch.dtype; None keeps the checkpoint's on CUDA and takes float32
    on a CPU. adapter: "lean", "transformers", or one that another package registered under the entry points `edge.adapters`.
    Raises CheckpointError, UnsupportedError or UnknownNameError with one line.
    """
    checkpoint = Checkpoint.open(path)
    place = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    return ADAPTERS.get(adapter).load(checkpoint, place, resolve_dtype(dtype, place, checkpoint.config))


def resolve_dtype(dtype: str | torch.dtype | None, device: torch.device, config: Mapping[str, Any]) -> torch.dtype:
    """The dtype to compute in. Raises InputError on a name that is none."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is None:
        if device.type == "cpu":
            return torch.float32
        dtype = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}: got {dtype!r}")
    return getattr(torch, name)


@dataclass(frozen=True)
class Checkpoint:
    """An opened folder: parsed config and conventions; weights are read when asked for. scheme: of an FP8 checkpoint."""

    path: Path
    config: dict[str, Any]
    spec: BlockSpec
    scheme: Scheme | None = None

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Raises CheckpointError when there is no readable config or no `block_diffusion` section in it, UnsupportedError for a
        quantization that is not read here."""
        folder = Path(path)
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: no such folder; give the path of a checkpoint written by save_pretrained")
        config = _json(folder / CONFIG, "copy it from the base model or convert the checkpoint again")
        remedy = "copy it from the quantized checkpoint"
        hf_quant = _json(folder / HF_QUANT, remedy) if (folder / HF_QUANT).exists() else None
        return cls(folder, config, BlockSpec.from_config(config, str(folder)), read_scheme(config, hf_quant, str(folder)))

    def tensors(self) -> dict[str, Tensor]:
        """All weights on the CPU in their stored dtype, memory-mapped. Raises CheckpointError on missing or truncated files."""
        out: dict[str, Tensor] = {}
        for file in self.shards():
            try:
                with safe_open(file, framework="pt") as f:
                    for key in f.keys():  # noqa: SIM118 (not a dict)
                        out[key] = f.get_tensor(key)
            except FileNotFoundError:
                raise CheckpointError(f"{file}: no such file, though {INDEX} names it; copy all shards") from None
            except (SafetensorError, OSError) as e:
                raise CheckpointError(f"{file}: not a complete safetensors file ({e}); copy it again") from None
        return out

    def shards(self) -> list[Path]:
        """The weight files. Raises CheckpointError when there are none."""
        if (self.path / SINGLE).exists():
            return [self.path / SINGLE]
        if not (self.path / INDEX).exists():
            other = sorted(p.name for p in self.path.glob("*.bin"))
            hint = f"{other[0]} is a pickle and is not read; save it again as safetensors" if other else "copy the weights there"
            raise CheckpointError(f"{self.path}: holds neither {SINGLE} nor {INDEX}; {hint}")
        index = _json(self.path / INDEX, "copy it again")
        names = index.get("weight_map")
        if not isinstance(names, dict) or not names:
            raise CheckpointError(f"{self.path / INDEX}: has no weight_map; copy it again")
        return [self.path / name for name in sorted(set(names.values()))]


def _json(file: Path, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file; {remedy}") from None
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{file}: not readable as JSON ({e}); {remedy}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: must hold a JSON object and holds a {type(content).__name__}; {remedy}")
    return content


class Weights:
    """Weights of a checkpoint being handed out: each key is taken once, with the shape that the config demands.

    Keeps account, so that `close` can name in one line what was missing, of the wrong shape, not finite, or left over.
    """

    def __init__(self, checkpoint: Checkpoint, renamed: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        """renamed: the tensors under the names by which the model asks for them."""
        self.path, self.dtype, self.scheme = checkpoint.path, dtype, checkpoint.scheme
        self._left = dict(renamed)
        self._missing: list[str] = []
        self._misfits: list[str] = []
        self._broken: list[str] = []

    def has(self, key: str) -> bool:
        return key in self._left

    def take(self, key: str, *shape: int) -> Tensor:
        """The tensor `key` in the dtype asked for, on the CPU; zeros when it does not fit (then `close` raises)."""
        tensor = self._left.pop(key, None)
        if tensor is None:
            self._missing.append(key)
        elif tuple(tensor.shape) != shape:
            self._misfits.append(f"{key} is {list(tensor.shape)} and the config demands {list(shape)}")
        elif not finite(tensor):
            self._broken.append(key)
        else:
            return tensor.to(self.dtype, copy=True)  # a copy: the file behind a mapped tensor may be replaced later
        return torch.zeros(shape, dtype=self.dtype)

    def is_fp8(self, key: str) -> bool:
        return self.scheme is not None and key in self._left and self._left[key].dtype == FP8

    def scales(self, key: str, count: int) -> Tensor:
        """FP8 scales, float32 [count] whatever the dtype asked for: one for each, as a column or not, or one for all."""
        tensor = self._left.pop(key, None)
        if tensor is None:
            self._missing.append(key)
        elif tensor.numel() not in (1, count):
            self._misfits.append(f"{key} is {list(tensor.shape)} and 1 or {count} scales are needed")
        elif not bool((tensor.float() > 0).all() & tensor.float().isfinite().all()):
            self._misfits.append(f"{key} must be positive and finite")
        else:
            return tensor.float().flatten().expand(count).clone()
        return torch.ones(count)

    def ignore(self, key: str) -> None:
        """Drop a key that may be there and says nothing."""
        self._left.pop(key, None)

    def close(self) -> None:
        """Raise CheckpointError unless all was found and nothing is left."""
        mismatch(self.path, self._missing, self._misfits, self._broken, self._left)


def finite(weight: Tensor) -> bool:
    """Whether a weight is free of NaN and infinity: the sum of finite weights is finite, and it is one pass over the memory."""
    if weight.dtype == FP8:
        weight = weight.float()
    return bool(weight.sum(dtype=torch.promote_types(weight.dtype, torch.float32)).isfinite())


def mismatch(
    path: Path,
    missing: Iterable[str] = (),
    misfits: Iterable[str] = (),
    broken: Iterable[str] = (),
    left: Iterable[str] = (),
) -> None:
    """Raise CheckpointError naming the first few weights of each kind, if there is any."""
    kinds = {"missing": missing, "of wrong shape": misfits, "with NaN or infinity": broken, "left over": left}
    report = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, some in kinds.items() if (keys := sorted(some)))
    if report:
        raise CheckpointError(f"{path}: the weights do not match config.json: {report}; take both from the same checkpoint")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


def reason(error: Exception) -> str:
    """The first line of somebody else's error."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def read_config(checkpoint: Checkpoint) -> PretrainedConfig:
    """The folder's config as `transformers` understands it, older spellings included. Raises CheckpointError."""
    try:
        return AutoConfig.from_pretrained(checkpoint.path, local_files_only=True)
    except Exception as e:  # half a dozen types, all meaning that config.json is not one
        raise CheckpointError(f"{checkpoint.path}: config.json is refused by transformers ({reason(e)}); repair it") from e


def unsupported(model_type: object, adapter: str, known: Sequence[str], remedy: str) -> UnsupportedError:
    """The refusal of an architecture."""
    return UnsupportedError(f"adapter {adapter!r} runs {', '.join(known)}: config.json says model_type {model_type!r}; {remedy}")
