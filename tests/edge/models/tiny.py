"""Tiny random checkpoints of every family, and the oracle: `transformers` itself, eager, uncached, with an additive 4-D mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    PretrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from edge.core.types import TRUNK, After, Call
from edge.core.visibility import additive, forest, visible
from edge.models.images import read_image

VOCAB, MASK, IMAGE, LIMIT = 96, 3, 90, 88
SPEC = {"block_size": 4, "mask_token_id": MASK, "vocab_limit": LIMIT, "stop_ids": [2]}
TEXT = ("qwen2", "qwen2-tied", "qwen3", "qwen3-bias")
KINDS = (*TEXT, "qwen2_5_vl")


def config(kind: str, **changes: Any) -> PretrainedConfig:
    """A two- or three-layer config of a family, with grouped heads and a head size that is not hidden / heads for Qwen3."""
    text: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": None,
        "tie_word_embeddings": kind == "qwen2-tied",
    } | changes
    if kind.startswith("qwen2-") or kind == "qwen2":
        return Qwen2Config(**text)
    if kind.startswith("qwen3"):
        return Qwen3Config(**text, head_dim=16, attention_bias=kind == "qwen3-bias")
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_heads": 2,
        "out_hidden_size": 48,
        "fullatt_block_indexes": [1],
        "window_size": 56,
    }
    special: dict[str, Any] = {"video_token_id": 91, "vision_start_token_id": 92, "vision_end_token_id": 93}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, image_token_id=IMAGE, **special)


def build(kind: str, seed: int = 0, **changes: Any) -> Any:
    """A random model whose weights are large enough that every part of it matters: logits have a spread of about 3."""
    made = config(kind, **changes)
    classes = {Qwen2Config: Qwen2ForCausalLM, Qwen3Config: Qwen3ForCausalLM, Qwen2_5_VLConfig: Qwen2_5_VLForConditionalGeneration}
    model = classes[type(made)](made)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or "ln_q" in name:
                weight.copy_(torch.rand(weight.shape, generator=random) + 0.5)
            else:
                weight.copy_(torch.randn(weight.shape, generator=random) * (0.02 if "patch_embed" in name else 0.25))
    model.set_attn_implementation("eager")
    return model.eval()


def save(model: Any, folder: Path, **conventions: Any) -> Path:
    """Write a folder as converters do: `save_pretrained` with the conventions in the config."""
    model.config.block_diffusion = SPEC | conventions
    model.save_pretrained(folder)
    return folder


@cache
def pictures(count: int) -> tuple[Image.Image, ...]:
    """Random images of different sizes."""
    random = np.random.default_rng(count)
    sizes = [(56, 84), (120, 60), (80, 200)][:count]
    return tuple(Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes)


def tokens(count: int, seed: int = 0) -> list[int]:
    """Random text ids: neither mask, nor stop, nor special."""
    return torch.randint(4, LIMIT, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def prompt_with_images(counts: tuple[int, ...], tail: int = 6) -> Tensor:
    """Ids of a prompt with images of so many rows each, text before, between and after them."""
    ids = tokens(3)
    for n, count in enumerate(counts):
        ids += [92, *[IMAGE] * count, 93, *tokens(2, seed=n + 1)]
    return torch.tensor(ids + tokens(tail, seed=9))


@dataclass
class Rows:
    """Rows of a sequence with what decides their attention; `cuts` are where it may be chunked with a cache."""

    tokens: Tensor
    order: Tensor
    masked: Tensor
    cuts: list[int]
    branch: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.branch = torch.full_like(self.order, TRUNK)

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def call(self, start: int = 0, stop: int | None = None) -> Call:
        """Rows `start .. stop-1` as a call that wants what follows each of them."""
        at = torch.arange(start, len(self) if stop is None else stop)
        want = tuple(After(i) for i in range(len(at)))
        return Call(self.tokens[at], self.masked[at], self.order[at], self.branch[at], at, want)


def rows(kind: str, ids: Tensor, block: int = 4) -> Rows:
    """The same tokens as causal rows, as a causal prefix with a half-masked block, or as block-causal rows."""
    n, at = ids.shape[0], torch.arange(ids.shape[0])
    masked = torch.zeros(n, dtype=torch.bool)
    if kind == "causal":
        return Rows(ids, at, masked, [1, n // 3, n // 2, n - 1])
    if kind == "block":
        masked[n - block :: 2] = True
        return Rows(ids, at.clamp(max=n - block), masked, [n // 2, n - block])
    return Rows(ids, at // block * block, masked, [block, n // (2 * block) * block])


def oracle(
    model: Any, sequence: Rows, images: tuple[Any, ...] = (), processor: Any = None, parents: tuple[int, ...] = (-1,)
) -> Tensor:
    """Logits [R, V] of `transformers` for rows that all go in at once."""
    ids = sequence.tokens[None]
    shown = torch.where(sequence.masked, MASK, sequence.tokens)[None]
    at = torch.arange(len(sequence))[None]
    with torch.no_grad():
        embeds = model.get_input_embeddings()(shown)
        if images:
            inputs = processor(images=[read_image(i) for i in images], return_tensors="pt")
            pixels, grids = inputs["pixel_values"].to(embeds.dtype), inputs["image_grid_thw"]
            features = torch.cat(model.get_image_features(pixels, grids).pooler_output)
            embeds = embeds.masked_scatter((ids == IMAGE)[..., None], features)
            at, _ = model.model.get_rope_index(ids, mm_token_type_ids=(ids == IMAGE).int(), image_grid_thw=grids)
        seen = visible(sequence.order, sequence.branch, sequence.order, sequence.branch, forest(parents))
        mask = additive(seen, embeds.dtype)[None, None]  # additive: a bool mask would be added as numbers
        return model(inputs_embeds=embeds, position_ids=at, attention_mask=mask, use_cache=False).logits[0]
