"""Calibration: what the inputs of a model's products look like on the user's own requests.

The model runs in `transformers`, where every product is a module that can be listened to, by the decoder that will be used: so
masked rows of drafts are among what is seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from converters.dataset import PLACE, Folder
from edge.core.errors import InputError
from edge.engine import Engine
from edge.models.fp8_twin import bare
from edge.quant.layout import quantizes

OCTAVES, BINS = (-24, 16), 64
"""Magnitudes are counted in 64 bins per factor of two from 2^-24 to 2^16, so a percentile is known to 1.1 %."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked. schema: as `Engine.generate` takes it."""

    messages: Sequence[dict[str, Any]]
    images: Sequence[Any] = ()
    schema: Any = None
    max_new_tokens: int = 256


@dataclass
class Inputs:
    """Magnitudes seen at the products, by module name without the text part's prefix. channels: largest of each channel [in]."""

    channels: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)

    def hear(self, name: str, x: Tensor) -> None:
        """x: [..., in]."""
        size = x.detach().abs().float().flatten(0, -2).cpu()
        most = size.amax(dim=0)
        self.channels[name] = torch.maximum(self.channels[name], most) if name in self.channels else most
        low, high = OCTAVES
        where = ((size.flatten().log2() - low) * BINS).clamp(0, (high - low) * BINS - 1).long()
        count = torch.bincount(where, minlength=(high - low) * BINS)
        self.counts[name] = self.counts[name] + count if name in self.counts else count

    def magnitude(self, name: str, clip: str) -> float:
        """What becomes 448: the largest magnitude (absmax), or the percentile `clip` says. Raises InputError."""
        share = percentile(clip)
        most = float(self.channels[name].max())
        if share is None:
            return most
        below = self.counts[name].cumsum(0)
        bin_ = int((below < share * int(below[-1])).sum())
        return min(most, 2.0 ** ((bin_ + 1) / BINS + OCTAVES[0]))


def percentile(clip: str) -> float | None:
    """None for absmax, 0.999 for p99.9. Raises InputError for any other name."""
    if clip == "absmax":
        return None
    found = re.fullmatch(r"p(\d+(?:\.\d+)?)", clip)
    if found is None or not 0 < float(found[1]) < 100:
        raise InputError(f"clip must be absmax or a percentile such as p99.9: got {clip!r}")
    return float(found[1]) / 100


def observe(engine: Engine, requests: Iterable[Request]) -> Inputs:
    """Answer `requests` with an engine of the "transformers" adapter and listen. Raises InputError when there are none."""
    seen = Inputs()
    remove = listen(engine, lambda name, module, x: seen.hear(name, x))
    strategy = "self-spec" if engine.spec.causal_mode else "threshold"
    count = 0
    try:
        for request in requests:
            answer(engine, request, strategy)
            count += 1
    finally:
        remove()
    if count == 0:
        raise InputError("there is nothing to calibrate on: give requests with --calibrate FILE.jsonl")
    return seen


def listen(engine: Engine, hear: Callable[[str, Any, Tensor], None]) -> Callable[[], None]:
    """Call `hear(name, module, input)` at every product that may be quantized; returns what ends it."""
    model: Any = engine.backbone
    handles = [
        module.register_forward_pre_hook(partial(_tell, hear, bare(name)))
        for name, module in model.model.named_modules()
        if quantizes(name)
    ]

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove


def _tell(hear: Callable[[str, Any, Tensor], None], name: str, module: Any, args: tuple[Tensor, ...]) -> None:
    hear(name, module, args[0])


def answer(engine: Engine, request: Request, strategy: str) -> Any:
    """A generation in the checkpoint's own block size, whatever was found to be fast on this device."""
    options: dict[str, Any] = {} if strategy == "ar" else {"block_size": engine.spec.block_size}
    return engine.generate(
        request.messages,
        images=request.images,
        schema=request.schema,
        strategy=strategy,
        max_new_tokens=request.max_new_tokens,
        **options,
    )


def read_requests(file: Path, limit: int) -> list[Request]:
    """Up to `limit` requests spread evenly over a JSONL file: `records.jsonl` of a folder of `edge drive data`, with the images
    beside it; or lines with "messages" or "prompt", text alone. Raises InputError, one line."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; give a JSONL file of requests, such as records.jsonl of `edge drive data`")
    if (file.parent / "meta.json").exists():
        return _driving(Folder.open(file.parent), limit)
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{file}: holds no line; calibration needs at least one request")
    return [_text(file, n + 1, lines[n]) for n in _spread(len(lines), limit)]


def _driving(folder: Folder, limit: int) -> list[Request]:
    out = []
    for n in _spread(len(folder.records), limit):
        before, after = folder.records[n]["prompt"].split(PLACE)
        pictures = list(folder.images[n])
        parts = [{"type": "text", "text": before}, *[{"type": "image"}] * len(pictures), {"type": "text", "text": after}]
        out.append(Request([{"role": "user", "content": parts}], pictures, folder.template))
    return out


def _text(file: Path, number: int, line: str) -> Request:
    try:
        row = json.loads(line)
        messages = row["messages"] if "messages" in row else [{"role": "user", "content": row["prompt"]}]
    except (ValueError, KeyError, TypeError):
        raise InputError(f'{file}: line {number} must be a JSON object with "messages" or "prompt": got {line[:60]!r}') from None
    return Request(messages)


def _spread(count: int, limit: int) -> list[int]:
    return [n * count // min(limit, count) for n in range(min(limit, count))]
