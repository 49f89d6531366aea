"""Any causal language model of `transformers`, with or without vision, on the tape.

An attention function is registered under the name "edge_tape" and set on the text part alone (set on the whole model, it would
also take over the vision tower). It writes keys and values to the tape and attends to what the tape's mask shows; everything
else is the model's own code. So this adapter is the oracle of the lean decoder, and it serves the architectures that the lean
one does not know. Shapes: `R` rows, `n` used slots, `H` heads, `Hkv` key/value heads, `D` head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AttentionInterface,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PretrainedConfig,
)

from edge.core.blockspec import BlockSpec
from edge.core.errors import CheckpointError, InputError, UnsupportedError
from edge.core.visibility import additive
from edge.models import fp8_twin
from edge.models.backbone import ImageFeatures, flat_axes
from edge.models.images import read_image
from edge.models.loading import Checkpoint, finite, mismatch, read_config, reason
from edge.models.tape import Tape
from edge.models.vision import PROCESSOR_FILES, ImageProcessor

ATTENTION = "edge_tape"


class Step:
    """The forward under way: its tape, and the tape's masks made additive once per window."""

    def __init__(self, tape: Tape, device: torch.device, dtype: torch.dtype) -> None:
        self.tape, self._device, self._dtype = tape, device, dtype
        self._masks: dict[int | None, Tensor | None] = {}

    def mask(self, window: int | None) -> Tensor | None:
        """Additive [R, n] in the model's dtype, or None when nothing is hidden."""
        if window not in self._masks:
            seen = self.tape.mask(window)
            self._masks[window] = None if seen is None else additive(seen.to(self._device), self._dtype)
        return self._masks[window]


_STEP: ContextVar[Step] = ContextVar("edge_tape_step")


def tape_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """Attention function in the form of `transformers`: query [1, H, R, D], key and value [1, Hkv, R, D] -> [1, R, H, D].

    The model's own mask is ignored: order and branch decide. Raises UnsupportedError for score caps and attention sinks.
    """
    for name in ("softcap", "s_aux"):
        if extra.get(name) is not None:
            raise UnsupportedError(f"{type(module).__name__} uses {name}, which the tape's attention does not implement")
    step = _STEP.get()
    layer = module.layer_idx
    assert isinstance(layer, int)
    step.tape.write(layer, torch.cat([key[0], value[0]]).transpose(0, 1))
    keys, values = step.tape.keys[layer], step.tape.values[layer]
    out = F.scaled_dot_product_attention(query, keys, values, step.mask(sliding_window), scale=scaling, enable_gqa=True)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, tape_attention)


class TransformersModel:
    """Implements `edge.models.backbone.Backbone`. `model` is the untouched `transformers` module but for its attention function."""

    def __init__(self, model: Any, spec: BlockSpec, path: Path) -> None:
        """path: the folder, for its image processor. Raises UnsupportedError for a model with attention code of its own."""
        self.model, self.spec, self.path = model, spec, path
        config, text = model.config, model.config.get_text_config()
        self._route(ATTENTION)
        if text._attn_implementation != ATTENTION:
            raise UnsupportedError(f"{type(model).__name__} does not route attention through the interface of transformers")
        self._text = text
        self.vocab_size, self.hidden_size, self.max_positions = text.vocab_size, text.hidden_size, text.max_position_embeddings
        token = getattr(config, "image_token_id", None)
        self.image_token_id: int | None = getattr(config, "image_token_index", None) if token is None else token
        self.device, self.dtype = model.device, model.dtype
        self._processor: Any = None

    def _route(self, attention: str) -> None:
        config = self.model.config
        text = config.get_text_config()
        self.model.set_attn_implementation(attention if text is config else {_text_key(config): attention})

    @contextmanager
    def without_tape(self) -> Iterator[Any]:
        """`model` with the causal attention of `transformers`: forwards of whole sequences, through which gradients flow."""
        self._route("sdpa")
        try:
            yield self.model
        finally:
            self._route(ATTENTION)

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> TransformersModel:
        """Raises CheckpointError for missing or ill-fitting weights, UnsupportedError for what is no causal language model."""
        config = read_config(checkpoint)
        tensors = checkpoint.tensors()
        broken = [key for key, weight in tensors.items() if not finite(weight)]
        sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        auto: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        source: dict[str, Any] = {"pretrained_model_name_or_path": checkpoint.path}
        if checkpoint.scheme is not None:  # an architecture that transformers lacks was refused by read_config
            auto = (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING if sees else MODEL_FOR_CAUSAL_LM_MAPPING)[type(config)]
            source = {"pretrained_model_name_or_path": None, "state_dict": fp8_twin.dequantized(tensors)}
            config.__dict__.pop("quantization_config", None)
        try:
            model, info = auto.from_pretrained(
                **source,
                config=config,
                dtype=dtype,
                attn_implementation="sdpa",
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, with all the others
                output_loading_info=True,
            )
        except Exception as e:  # transformers raises a dozen types here
            raise CheckpointError(f"{checkpoint.path}: transformers cannot load it ({reason(e)})") from e
        shapes = [f"{k} is {list(a)} and the config demands {list(b)}" for k, a, b in info["mismatched_keys"]]
        mismatch(checkpoint.path, info["missing_keys"], shapes, broken, info["unexpected_keys"])
        if checkpoint.scheme is not None:
            fp8_twin.round_inputs(model, tensors, device)
        return cls(model.eval().requires_grad_(False).to(device), checkpoint.spec, checkpoint.path)

    def new_tape(self, capacity: int, *, check: bool | None = None) -> Tape:
        text = self._text
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        return Tape(text.num_hidden_layers, heads, size, capacity, dtype=self.dtype, device=self.device, check=check)

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(ids.to(self.device))

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Any]) -> ImageFeatures:
        if not hasattr(self.model, "get_image_features"):
            raise UnsupportedError("this checkpoint has no vision tower and images were given; load a vision-language checkpoint")
        if getattr(self.model.config.vision_config, "deepstack_visual_indexes", None):
            raise UnsupportedError(
                f"{type(self.model).__name__} feeds its images into several layers (deepstack), which only the SGLang backend does "
                "here: edge serve --backend sglang; text alone is fine"
            )
        inputs = self.processed(images)
        on_device = {k: v.to(self.device, self.dtype if v.is_floating_point() else None) for k, v in inputs.items()}
        out = self.model.get_image_features(**on_device)
        parts = list(getattr(out, "pooler_output", out))  # one tensor [rows, hidden] per image
        return ImageFeatures(torch.cat(parts), tuple(p.shape[0] for p in parts), inputs.get("image_grid_thw"))

    def processed(self, images: Sequence[Any]) -> dict[str, Tensor]:
        """Keyword arguments of the model's `get_image_features`."""
        if self.model.config.model_type == "qwen2_5_vl":
            self._processor = self._processor or ImageProcessor.load(self.path, self.model.config.vision_config)
            pixels, grids = self._processor(images)
            return {"pixel_values": pixels, "image_grid_thw": grids}
        if self._processor is None:
            if not any((self.path / f).exists() for f in PROCESSOR_FILES):
                raise CheckpointError(f"{self.path}: has no {PROCESSOR_FILES[0]}; copy it from the base model to use images")
            self._processor = AutoImageProcessor.from_pretrained(self.path, backend="pil", local_files_only=True)
        pictures = [read_image(image, n) for n, image in enumerate(images)]
        try:
            return dict(self._processor(images=pictures, return_tensors="pt"))
        except ValueError as e:
            raise InputError(f"the images are refused by the image processor: {reason(e)}") from None

    def axes(self, ids: Tensor, images: ImageFeatures | None) -> tuple[Tensor, int]:
        own = getattr(getattr(self.model, "model", None), "get_rope_index", None)
        if own is None or images is None or images.grids is None:
            return flat_axes(ids.shape[0])
        kinds = (ids == self.image_token_id).to(torch.int)[None]
        positions, delta = own(ids[None], mm_token_type_ids=kinds, image_grid_thw=images.grids)
        return positions[:, 0], int(delta)

    def rope(self, positions: Tensor) -> Tensor:
        """The positions themselves, int64 [A, L]: the model has its own rotary tables."""
        return positions.to(self.device)

    def decode(self, embeds: Tensor, position: Tensor, rope: Tensor, tape: Tape, want: Tensor) -> Tensor:
        at = rope.index_select(1, position.to(self.device))
        token = _STEP.set(Step(tape, self.device, self.dtype))
        try:
            out = self.model(
                inputs_embeds=embeds[None],
                position_ids=at if at.shape[0] == 1 else at[:, None],
                use_cache=False,
                logits_to_keep=want.to(self.device),
            )
        finally:
            _STEP.reset(token)
        return out.logits[0]


def _text_key(config: PretrainedConfig) -> str:
    """The name under which a composite config holds its text part."""
    text = config.get_text_config()
    return next(k for k in config.sub_configs if getattr(config, k) is text)
