"""The lean decoder for Qwen2, Qwen2.5, Qwen3 and the text part of Qwen2.5-VL.

It is written for one sequence and few rows, where a forward costs what it costs to read the weights and to call the kernels:
query, key and value are one product, and so are gate and up; weights are packed (`edge.models.linear`); RMSNorm is three
kernels; the rotary embedding is one complex product, which pairs adjacent numbers, so the rows of the query and key weights are
put in that order at loading (a permutation inside a head changes no score); and only wanted rows go through the head.

Architecture: Qwen2 (arXiv 2407.10671), Qwen2.5-VL (arXiv 2502.13923; M-RoPE in sections), Qwen3 (arXiv 2505.09388; norms on
queries and keys). Oracle: `edge.models.hf`. Shapes: `R` rows, `n` used slots, `Hq` heads, `Hkv` key/value heads, `G = Hq / Hkv`,
`D` head size, `E` hidden size, `I` intermediate size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from edge.core.blockspec import BlockSpec
from edge.core.errors import UnsupportedError
from edge.core.visibility import additive
from edge.models import fp8
from edge.models.backbone import ImageFeatures, flat_axes, mrope_axes
from edge.models.linear import Linear, linear
from edge.models.loading import Checkpoint, Weights, read_config, unsupported
from edge.models.tape import Tape

MODEL_TYPES = ("qwen2", "qwen3", "qwen2_5_vl")
FOLD_ROWS = 32
"""Up to so many rows the heads of a group are folded into the rows of one attention product; beyond, the mask is shared."""


class Layer(NamedTuple):
    """Weights of one layer. Norm weights carry the square root of their width (see `_rms`)."""

    norm: Tensor  # [E]
    qkv: Linear  # E -> (Hq + 2 Hkv) D
    qk_norm: Tensor | None  # [Hq + Hkv, D]
    out: Linear  # Hq D -> E
    mlp_norm: Tensor  # [E]
    gate_up: Linear  # E -> 2 I
    down: Linear  # I -> E
    window: int | None


class LeanModel:
    """Implements `edge.models.backbone.Backbone`."""

    def __init__(
        self, config: PretrainedConfig, spec: BlockSpec, weights: Weights, device: torch.device, vision: Any = None
    ) -> None:
        """config: of the whole model, as `transformers` reads it; weights: under canonical names (see `canonical`);
        vision: the tower with `encode(images)`, or None.

        Raises UnsupportedError for options of the config that this decoder does not implement.
        """
        text = config.get_text_config()
        _check(text)
        self.spec, self.device, self.dtype, self._vision = spec, device, weights.dtype, vision
        self.vocab_size, self.hidden_size, self.max_positions = text.vocab_size, text.hidden_size, text.max_position_embeddings
        self.image_token_id = getattr(config, "image_token_id", None) if vision is not None else None
        self._heads, self._kv_heads = text.num_attention_heads, text.num_key_value_heads
        self._size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self._rotary(text)
        eps = text.rms_norm_eps
        stat = torch.float64 if self.dtype == torch.float64 else torch.float32
        self._eps = torch.tensor(math.sqrt(eps * self.hidden_size), dtype=stat, device=device)
        self._qk_eps = torch.tensor(math.sqrt(eps * self._size), dtype=stat, device=device)
        self._embedding = weights.take("embed_tokens.weight", self.vocab_size, self.hidden_size).to(device)
        self._layers = [_layer(text, i, self._size, weights, device) for i in range(text.num_hidden_layers)]
        self._norm = _norm_weight(weights, "norm.weight", self.hidden_size).to(device)
        if getattr(config, "tie_word_embeddings", False):
            weights.ignore("lm_head.weight")
            self._head = linear(self._embedding)
        else:
            self._head = linear(weights.take("lm_head.weight", self.vocab_size, self.hidden_size).to(device))
        self._windows = {layer.window for layer in self._layers}

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> LeanModel:
        """Raises CheckpointError for missing or ill-fitting weights, UnsupportedError for another architecture."""
        kind = checkpoint.config.get("model_type")
        if kind not in MODEL_TYPES:
            raise unsupported(kind, "lean", MODEL_TYPES, 'load it with adapter="transformers"')
        config = read_config(checkpoint)
        weights = Weights(checkpoint, canonical(checkpoint.tensors()), dtype)
        if checkpoint.scheme is not None:
            fp8.announce(device)
        vision = None
        if kind == "qwen2_5_vl":
            from edge.models.vision import VisionTower  # text-only checkpoints need not pay for it

            vision = VisionTower.load(checkpoint, config, weights, device)
        model = cls(config, checkpoint.spec, weights, device, vision)
        weights.close()
        return model

    def new_tape(self, capacity: int, *, check: bool | None = None) -> Tape:
        return Tape(len(self._layers), self._kv_heads, self._size, capacity, dtype=self.dtype, device=self.device, check=check)

    def embed(self, ids: Tensor) -> Tensor:
        return self._embedding.index_select(0, ids.to(self.device))

    def encode_images(self, images: Sequence[Any]) -> ImageFeatures:
        if self._vision is None:
            raise UnsupportedError("this checkpoint has no vision tower and images were given; load a vision-language checkpoint")
        return self._vision.encode(images)

    def axes(self, ids: Tensor, images: ImageFeatures | None) -> tuple[Tensor, int]:
        if images is None or images.grids is None:
            return flat_axes(ids.shape[0])
        return mrope_axes(ids == self.image_token_id, images.grids, self._vision.merge)

    def _rotary(self, text: PretrainedConfig) -> None:
        """Frequencies of the D/2 pairs, and the axis that each follows (M-RoPE gives every axis runs of adjacent pairs)."""
        rope = text.rope_parameters
        kind = rope["rope_type"]
        if kind == "default":
            pairs = torch.arange(0, self._size, 2, dtype=torch.float)
            frequency, self._gain = 1.0 / rope["rope_theta"] ** (pairs / self._size), 1.0
        else:
            frequency, self._gain = ROPE_INIT_FUNCTIONS[kind](text, torch.device("cpu"))
        self._frequency = frequency
        sections = rope.get("mrope_section") or [self._size // 2]
        self._axis = torch.repeat_interleave(torch.arange(len(sections)) % 3, torch.tensor(sections))

    def rope(self, positions: Tensor) -> Tensor:
        """int64 [A, L] -> complex [L, 1, D/2]: gain * exp(i * angle) of every pair at every logical position.

        Angles are float32, as in `transformers`, also where the model computes in float64.
        """
        by_pair = positions.expand(3, -1)[self._axis].T if positions.shape[0] == 1 else positions[self._axis].T
        angle = by_pair.float() * self._frequency
        cos, sin = angle.cos() * self._gain, angle.sin() * self._gain
        table = torch.complex(cos, sin).unsqueeze(1)
        return table.to(self.device, torch.complex128 if self.dtype == torch.float64 else torch.complex64)

    def decode(self, embeds: Tensor, position: Tensor, rope: Tensor, tape: Tape, want: Tensor) -> Tensor:
        repeat = self._heads // self._kv_heads if embeds.shape[0] <= FOLD_ROWS else 1
        masks = {window: self._mask(tape, window, repeat) for window in self._windows}
        turn = rope.index_select(0, position.to(self.device))
        eps, dtype = self._eps, self.dtype
        x = embeds.to(eps.dtype, copy=True)  # the residual stream, norms and rotation are at least float32
        half = x.dtype != dtype
        for i, layer in enumerate(self._layers):
            h = _rms(x, layer.norm, eps)
            x += self._attention(i, layer, h.to(dtype) if half else h, turn, tape, masks[layer.window])
            h = _rms(x, layer.mlp_norm, eps)
            gate, up = layer.gate_up(h.to(dtype) if half else h).chunk(2, dim=-1)
            x += layer.down(F.silu(gate).mul_(up))
        return self._head(_rms(x.index_select(0, want.to(self.device)), self._norm, eps).to(dtype))

    def _attention(self, i: int, layer: Layer, h: Tensor, turn: Tensor, tape: Tape, mask: Tensor | None) -> Tensor:
        """[R, E] -> [R, E]: query, key and value; norms and rotation in place; onto the tape; attention; output product."""
        rows, hq, hk, size = h.shape[0], self._heads, self._kv_heads, self._size
        group = hq // hk
        qkv = layer.qkv(h).view(rows, hq + 2 * hk, size)
        qk = turned = qkv.narrow(1, 0, hq + hk)
        if h.dtype != self._eps.dtype:
            turned = turned.to(self._eps.dtype)
        if layer.qk_norm is not None:
            turned = _rms(turned, layer.qk_norm, self._qk_eps)
        torch.view_as_complex(turned.view(rows, hq + hk, size // 2, 2)).mul_(turn)
        if turned is not qk:
            qk.copy_(turned)
        if tape.into is not None:
            tape.into[i].copy_(qkv.narrow(1, hq, 2 * hk))
        else:
            tape.write(i, qkv.narrow(1, hq, 2 * hk))
        q = qkv.narrow(1, 0, hq).view(rows, hk, group, size).permute(1, 2, 0, 3)
        keys, values = tape.keys[i], tape.values[i]
        if rows <= FOLD_ROWS:
            q = q.reshape(1, hk, group * rows, size)
        else:
            keys, values = (t.transpose(0, 1).expand(-1, group, -1, -1) for t in (keys, values))
        a = F.scaled_dot_product_attention(q, keys, values, mask)
        return layer.out(a.view(hk, group, rows, size).permute(2, 0, 1, 3).reshape(rows, hq * size))

    def _mask(self, tape: Tape, window: int | None, repeat: int) -> Tensor | None:
        """Additive [repeat * R, n], or None when nothing is hidden."""
        seen = tape.mask(window)
        if seen is None:
            return None
        mask = additive(seen.to(self.device), self.dtype)
        return mask if repeat == 1 or mask.shape[0] == 1 else mask.repeat(repeat, 1)


def _rms(x: Tensor, weight: Tensor, eps: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + e) * w over the last dimension, with sqrt(width) inside `weight` and eps = sqrt(e * width):
    sqrt(sum(x^2) + e * width) is the hypotenuse of the norm of x and eps."""
    return torch.div(x, torch.hypot(torch.linalg.vector_norm(x, 2, -1, True), eps)).mul_(weight)


def _check(text: PretrainedConfig) -> None:
    if text.hidden_act != "silu":
        raise UnsupportedError(f'the lean decoder knows hidden_act "silu": got {text.hidden_act!r}; use adapter="transformers"')
    kind = text.rope_parameters["rope_type"]
    if kind not in ("default", "linear", "yarn", "llama3"):
        raise UnsupportedError(f'the lean decoder does not know rope_type {kind!r}; use adapter="transformers"')


def _norm_weight(weights: Weights, key: str, width: int) -> Tensor:
    """A norm's weight times the square root of its width, in float32 for half-precision models."""
    w = weights.take(key, width)
    return (w if w.dtype == torch.float64 else w.float()) * math.sqrt(width)


def _paired(w: Tensor, size: int) -> Tensor:
    """Rows [heads * D, ...] reordered inside each head: the halves (0, D/2), (1, D/2 + 1), ... become adjacent pairs."""
    return w.view(-1, 2, size // 2, *w.shape[1:]).transpose(1, 2).reshape(w.shape)


def _layer(text: PretrainedConfig, i: int, size: int, weights: Weights, device: torch.device) -> Layer:
    hidden, wide = text.hidden_size, text.intermediate_size
    q, kv = text.num_attention_heads * size, text.num_key_value_heads * size
    at, qwen3 = f"layers.{i}.", text.model_type == "qwen3"
    bias = text.attention_bias if qwen3 else True

    def take(name: str, *shape: int) -> Tensor:
        return weights.take(at + name, *shape)

    def matrix(name: str, out: int, width: int) -> fp8.Matrix:
        return fp8.take(weights, at + name, out, width)

    def pairs(rows: Tensor) -> Tensor:
        return _paired(rows, size)

    def qkv() -> fp8.Matrix:
        query, key, value = (matrix(f"self_attn.{n}_proj", w, hidden) for n, w in (("q", q), ("k", kv), ("v", kv)))
        return fp8.stacked([query.rows(pairs), key.rows(pairs), value])

    def qkv_bias() -> Tensor:
        query, key, value = (take(f"self_attn.{n}_proj.bias", w) for n, w in (("q", q), ("k", kv), ("v", kv)))
        return torch.cat([pairs(query), pairs(key), value]).to(device)

    def norm(name: str, width: int) -> Tensor:
        return _norm_weight(weights, at + name, width)

    qk_norm = None
    if qwen3:
        heads = [_paired(norm(f"self_attn.{n}_norm.weight", size), size) for n in ("q", "k")]
        qk_norm = torch.cat([heads[0].expand(q // size, -1), heads[1].expand(kv // size, -1)]).to(device)
    out_bias = take("self_attn.o_proj.bias", hidden).to(device) if bias and qwen3 else None
    gate_up = fp8.stacked([matrix(f"mlp.{n}_proj", wide, hidden) for n in ("gate", "up")])
    return Layer(
        norm=norm("input_layernorm.weight", hidden).to(device),
        qkv=fp8.product(qkv(), qkv_bias() if bias else None, device),
        qk_norm=qk_norm,
        out=fp8.product(matrix("self_attn.o_proj", hidden, q), out_bias, device),
        mlp_norm=norm("post_attention_layernorm.weight", hidden).to(device),
        gate_up=fp8.product(gate_up, None, device),
        down=fp8.product(matrix("mlp.down_proj", hidden, wide), None, device),
        window=text.sliding_window if text.layer_types[i] == "sliding_attention" else None,
    )


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under one set of names. `transformers` writes the text part of a VLM under `model.`, `model.language_model.` or
    `language_model.model.`, depending on its version, and the tower under `visual.` or `model.visual.`."""
    out = {}
    for key, tensor in tensors.items():
        name = key
        for prefix in ("model.language_model.", "language_model.model.", "language_model.", "model."):
            if name.startswith(prefix):
                name = name.removeprefix(prefix)
                break
        if not name.endswith("rotary_emb.inv_freq"):  # a buffer that old versions saved
            out[name] = tensor
    return out
