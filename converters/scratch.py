"""A new nano Qwen2.5-VL: an ordinary `transformers` checkpoint folder with random weights.

Architecture: Qwen2.5-VL (arXiv 2502.13923) at about 5 million parameters. The folder holds everything that later stages and the
engine read: bf16 weights, tokenizer, image processor and the block-diffusion conventions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from converters import tokenizer as tok
from converters.recipe import Block, Scratch
from converters.tokenizer import NanoTokenizer
from decoding.template import Template, Text
from edge.core.blockspec import CONFIG_KEY, BlockSpec
from edge.core.errors import InputError

PATCH, MERGE, TEMPORAL = 14, 2, 2
"""Pixels per side of a patch, patches per side of a row, frames per patch: those of every Qwen2.5-VL."""

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def create(
    folder: str | Path,
    sizes: Scratch,
    *,
    texts: Sequence[str],
    template: Template,
    image_size: tuple[int, int],
    seed: int = 0,
    block: Block | None = None,
) -> None:
    """Write a checkpoint folder with random weights.

    texts: what the tokenizer is trained on, prompts and answers; template: of the answers; image_size: height and width in
    pixels, multiples of 28. The same arguments give the same bytes. Raises InputError for sizes that cannot be.
    """
    folder = Path(folder)
    if any(side % (PATCH * MERGE) for side in image_size):
        raise InputError(f"image sides must be multiples of {PATCH * MERGE} pixels: got {image_size[0]} x {image_size[1]}")
    literals = _literals(template) if sizes.literals else []
    tokenizer = tok.train(texts, folder, vocab_size=sizes.vocab_size, literals=literals)
    config = build_config(sizes, tokenizer, block or Block())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    model.bfloat16().save_pretrained(folder)
    write_image_processor(folder, image_size)


def build_config(sizes: Scratch, tokenizer: NanoTokenizer, block: Block) -> Qwen2_5_VLConfig:
    """The config of a model of these sizes, conventions included."""
    spec = BlockSpec(
        block_size=block.size,
        mask_token_id=tokenizer.id(tok.MASK),
        pad_token_id=tokenizer.id(tok.NULL),
        stop_ids=(tokenizer.id(tok.STOP),),
        vocab_limit=len(tokenizer),
    )
    text = {
        "vocab_size": sizes.vocab_size,
        "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.intermediate_size,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": sizes.max_positions,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": sizes.rope_theta, "mrope_section": list(sizes.mrope_section)},
        "bos_token_id": None,
        "eos_token_id": tokenizer.id(tok.STOP),
    }
    vision = {
        "depth": sizes.vision_depth,
        "hidden_size": sizes.vision_hidden,
        "intermediate_size": sizes.vision_intermediate,
        "num_heads": sizes.vision_heads,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": TEMPORAL,
        "window_size": sizes.window_px,
        "out_hidden_size": sizes.hidden_size,
        "fullatt_block_indexes": list(sizes.vision_full_attention),
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.id(tok.IMAGE),
        video_token_id=tokenizer.id(tok.VIDEO),
        vision_start_token_id=tokenizer.id(tok.VISION_START),
        vision_end_token_id=tokenizer.id(tok.VISION_END),
        tie_word_embeddings=True,
    )
    setattr(config, CONFIG_KEY, spec.model_dump(mode="json"))
    return config


def write_image_processor(folder: Path, image_size: tuple[int, int]) -> None:
    """`preprocessor_config.json` of the PIL image processor, which needs no torchvision. Every image is scaled to this area."""
    pixels = image_size[0] * image_size[1]
    content = {
        "image_processor_type": "Qwen2VLImageProcessorPil",
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": 3,
        "size": {"shortest_edge": pixels, "longest_edge": pixels},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "patch_size": PATCH,
        "temporal_patch_size": TEMPORAL,
        "merge_size": MERGE,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _literals(template: Template) -> list[str]:
    """Literal texts with a letter in them; brackets and commas are left to the merges, since they occur everywhere."""
    return [p.text for s in template.sections for p in s.parts if isinstance(p, Text) and any(c.isalpha() for c in p.text)]
