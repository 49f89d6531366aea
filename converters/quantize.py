"""FP8 folders: a checkpoint in, one of the two layouts of `edge.quant.layout` out. The same input gives the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from converters.calibration import Inputs, percentile
from edge.core.errors import CheckpointError, InputError
from edge.models.fp8_twin import bare
from edge.models.loading import CONFIG, INDEX, Checkpoint
from edge.quant import layout as layouts
from edge.quant.layout import Scheme
from edge.quant.state import products, quantized, smoothed

BESIDE = (".json", ".jinja", ".txt", ".model", ".toml", ".md")
"""Files that go along: tokenizer, chat template, image processor, planner, recipe."""
REPORT = "quantization.json"
LEFT_BEHIND = (CONFIG, INDEX, layouts.HF_QUANT, REPORT, "decoding.json", "training.json")
"""Written anew, or (decoding.json) measured with other products than those of the copy."""


@dataclass(frozen=True)
class Plan:
    """How a checkpoint is quantized. clip: what of a calibrated input becomes 448; smooth: SmoothQuant's alpha or None; keep:
    modules that stay as they are, names with * and ?."""

    layout: str
    clip: str = "absmax"
    smooth: float | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises InputError."""
        _ = self.scheme, percentile(self.clip)
        if self.smooth is not None and not 0 <= self.smooth <= 1:
            raise InputError(f"smoothquant takes an alpha from 0 to 1: got {self.smooth}")

    @property
    def scheme(self) -> Scheme:
        return layouts.scheme(self.layout)

    @property
    def calibrated(self) -> bool:
        """Whether it takes calibration data."""
        return self.scheme.static_input or self.smooth is not None


@dataclass(frozen=True)
class Quantized:
    """names: the quantized modules; before: all tensors, smoothed; after: what is written."""

    plan: Plan
    names: list[str]
    before: dict[str, Tensor]
    after: dict[str, Tensor]


def open_plain(source: Path) -> Checkpoint:
    """A checkpoint that can be quantized. Raises CheckpointError for one that is quantized already."""
    checkpoint = Checkpoint.open(source)
    if checkpoint.scheme is not None:
        raise CheckpointError(f"{source}: is {checkpoint.scheme.layout} already; quantize the checkpoint that it was made from")
    return checkpoint


def prepare(checkpoint: Checkpoint, plan: Plan, inputs: Inputs | None = None) -> Quantized:
    """The tensors of the new folder. inputs: what calibration saw, where the plan takes it. Raises EdgeError, one line."""
    if plan.calibrated and inputs is None:
        raise InputError(f"{plan.layout} is calibrated: give requests with --calibrate FILE.jsonl")
    tensors = checkpoint.tensors()
    try:
        names = products(tensors, lambda module: any(fnmatchcase(bare(module), k) or fnmatchcase(module, k) for k in plan.keep))
    except CheckpointError as e:
        raise CheckpointError(f"{checkpoint.path}: {e}") from None
    seen = {n: bare(n) for n in names if inputs is not None and bare(n) in inputs.channels}
    amax = {n: inputs.magnitude(at, plan.clip) for n, at in seen.items()} if inputs is not None else {}
    if plan.smooth is not None and inputs is not None:
        channels = {n: inputs.channels[at] for n, at in seen.items()}
        tensors, factors = smoothed(tensors, names, channels, plan.smooth)
        amax |= {n: amax[n] * float((channels[n] / by).max() / channels[n].max()) for n, by in factors.items()}
    return Quantized(plan, names, tensors, quantized(tensors, names, plan.scheme, amax))


def write(checkpoint: Checkpoint, made: Quantized, out: Path) -> None:
    """Write the folder, complete or not at all, and read it back. Raises InputError when `out` exists."""
    refuse_existing(out)
    work = out.with_name(out.name + ".partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for file in sorted(checkpoint.path.iterdir()):
        if file.is_file() and file.suffix in BESIDE and file.name not in LEFT_BEHIND:
            shutil.copyfile(file, work / file.name)
    _weights(checkpoint, made, work)
    _json(work / CONFIG, checkpoint.config | {"quantization_config": _section(made)})
    if made.plan.layout == "fp8-modelopt":
        _json(work / layouts.HF_QUANT, layouts.modelopt_file(_kept(made)))
    reread(work, made)
    work.rename(out)


def refuse_existing(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out}: exists; choose another folder or remove it")


def reread(folder: Path, made: Quantized) -> None:
    """Check that a folder holds exactly the tensors that were made. Raises CheckpointError naming the first that differs."""
    found = Checkpoint.open(folder)
    tensors = found.tensors()
    wrong = sorted(set(tensors) ^ set(made.after)) or [
        k for k, t in made.after.items() if t.dtype != tensors[k].dtype or not bool((t.float() == tensors[k].float()).all())
    ]
    if wrong or found.scheme != made.plan.scheme:
        raise CheckpointError(
            f"{folder}: {wrong[0] if wrong else 'its scheme'} reads back differently; check the disk and write again"
        )


def _section(made: Quantized) -> dict[str, Any]:
    make = layouts.modelopt_config if made.plan.layout == "fp8-modelopt" else layouts.compressed_config
    return make(_kept(made))


def _kept(made: Quantized) -> tuple[str, ...]:
    """Modules that `keep` left as they are, by the names of the checkpoint."""
    every = (k.removesuffix(".weight") for k in made.before if k.endswith(".weight"))
    return tuple(sorted(n for n in every if layouts.quantizes(n) and n not in set(made.names)))


def _weights(checkpoint: Checkpoint, made: Quantized, work: Path) -> None:
    """The same shards as before, scales beside their weights."""
    shards = checkpoint.shards()
    places: dict[str, str] = {}
    for file in shards:
        with safe_open(file, framework="pt") as f:
            keys = set(f.keys())
        part = {k: t.contiguous() for k, t in sorted(made.after.items()) if k in keys or _weight_of(k) in keys}
        places |= dict.fromkeys(part, file.name)
        save_file(part, work / file.name, metadata={"format": "pt"})
    if shards[0].name != "model.safetensors":
        size = sum(t.numel() * t.element_size() for t in made.after.values())
        _json(work / INDEX, {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))})


def _weight_of(key: str) -> str:
    module, _, what = key.rpartition(".")
    return f"{module}.weight" if what in ("weight_scale", "input_scale") else key


def _json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
