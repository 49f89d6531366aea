"""The forward pass of a `transformers` Qwen2.5-VL for training on few CPU cores.

The module and its parameters are the stock ones; this walks through them with fewer and larger operations: query, key and value
are one product, gate and up another; positions come in ready; attention follows a plan (`converters.attention`); the last layer
computes only the rows that are wanted; the two frames of a still image's patch, being equal, meet a kernel summed over frames.
Slow twin: `Qwen2_5_VLForConditionalGeneration.forward`, compared in the tests.
Shapes: `B` batch, `R` rows, `W` wanted rows, `E` hidden size, `H` heads, `K` key heads, `D` head size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from converters.attention import Chunk, Plan, attend, even_cuts, plan
from edge.core.visibility import visible


class _Rms(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) over the last dimension, given out in `dtype`.

    The norm's weight is left to the product that follows (`Forward._linear`): multiplying a small matrix by it once is cheaper than
    all rows, forward and backward, and the backward pass needs one tensor where autograd would keep four.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        inverse = torch.linalg.vector_norm(x, 2, -1, True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = (x * inverse).to(dtype)
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        unit, inverse = ctx.saved_tensors
        grad, unit = grad.to(inverse.dtype), unit.to(inverse.dtype)
        mean = (grad * unit).mean(-1, keepdim=True)
        return torch.addcmul(grad, unit, mean, value=-1).mul_(inverse), None, None


class _Rotate(torch.autograd.Function):
    """Rotary embedding in the half-split form: x [..., D], cos and sin [..., D / 2]. Rotating back is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    a, b = (t.to(cos.dtype) for t in x.chunk(2, -1))
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    first, second = out.chunk(2, -1)
    first.copy_((a * cos).addcmul_(b, sin, value=-way))
    second.copy_((b * cos).addcmul_(a, sin, value=way))
    return out


class Forward:
    """Runs a model whose images all have one size.

    image_size: height and width in pixels; dtype: of the products (bfloat16, or that of the weights for none).
    """

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, image_size: tuple[int, int], dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.text, self.visual = model.model.language_model, model.model.visual
        config = model.config.get_text_config()
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = config.hidden_size // self.heads
        self.image_id = model.config.image_token_id
        self._vision_tables(image_size)

    # --- tower --------------------------------------------------------------------------------------------------------------

    def _vision_tables(self, image_size: tuple[int, int]) -> None:
        """Rotary table of one image's patches and the plans of both kinds of layer; all images share them."""
        config: Any = self.visual.config
        grid = torch.tensor([[1, image_size[0] // config.patch_size, image_size[1] // config.patch_size]])
        merge = config.spatial_merge_size
        angles = get_vision_position_ids(grid, merge)[..., None].float() * self.visual.rotary_pos_emb.inv_freq
        angles = torch.cat([angles[:, 0], angles[:, 1]], dim=-1)
        self._vision_cos, self._vision_sin = (t[None, :, None].to(self._wide) for t in (angles.cos(), angles.sin()))
        index, ends = get_vision_window_index(grid, merge, config.window_size, config.patch_size)
        # Rows stay in image order and a window is a tree of its own, so that nothing need be permuted.
        rows = int(grid.prod())
        window = torch.empty(rows, dtype=torch.long)
        window.view(-1, merge * merge)[index] = torch.bucketize(torch.arange(rows), ends[1:], right=True).view(-1, merge * merge)
        order = torch.zeros(rows, dtype=torch.long)
        seen = visible(order, window, order, window, torch.eye(int(window.max()) + 1, dtype=torch.bool))
        self._window_plan = plan(seen, [rows], self.dtype)
        self._full_plan = [Chunk(0, rows, ((0, rows),), None)]
        self._patches = rows

    @property
    def _wide(self) -> torch.dtype:
        return torch.float64 if self.text.norm.weight.dtype == torch.float64 else torch.float32

    def _rms(self, x: Tensor, norm: Any) -> Tensor:
        """`norm` without its weight."""
        return _Rms.apply(x, norm.variance_epsilon, self.dtype)  # type: ignore[return-value]

    def _linear(self, x: Tensor, layer: Any, norm: Any = None) -> Tensor:
        """The product of a layer, on rows that come from `_rms` with the weight of `norm` as well."""
        weight = layer.weight if norm is None else layer.weight * norm.weight
        bias = layer.bias
        return F.linear(x, weight.to(self.dtype), None if bias is None else bias.to(self.dtype))

    def see(self, patches: Tensor) -> Tensor:
        """Patches [n * G, 3 * 14 * 14] of one frame each -> rows [n * G / 4, E] in the order of their placeholders."""
        v: Any = self.visual
        kernel = v.patch_embed.proj.weight.sum(2).flatten(1)
        x = F.linear(patches.to(self.dtype), kernel.to(self.dtype)).to(self._wide).view(-1, self._patches, kernel.shape[0])
        n, rows, hidden = x.shape
        heads = v.config.num_heads
        size = hidden // heads
        for i, block in enumerate(v.blocks):
            qkv = self._linear(self._rms(x, block.norm1), block.attn.qkv, block.norm1).view(n, rows, 3 * heads, size)
            qk = _Rotate.apply(qkv[:, :, : 2 * heads], self._vision_cos, self._vision_sin)
            chunks = self._full_plan if i in v.fullatt_block_indexes else self._window_plan
            a = attend(qk[:, :, :heads] * size**-0.5, qk[:, :, heads:], qkv[:, :, 2 * heads :], chunks)
            x = x + self._linear(a, block.attn.proj)
            h, m = self._rms(x, block.norm2), block.mlp
            gate, up = self._linear(h, m.gate_proj, block.norm2), self._linear(h, m.up_proj, block.norm2)
            x = x + self._linear(F.silu(gate) * up, m.down_proj)
        first, _, second = v.merger.mlp
        h = self._rms(x, v.merger.ln_q).view(-1, v.merger.hidden_size)
        weight = first.weight * v.merger.ln_q.weight.repeat(first.in_features // hidden)
        return self._linear(F.gelu(F.linear(h, weight.to(self.dtype), first.bias.to(self.dtype))), second)

    # --- text ---------------------------------------------------------------------------------------------------------------

    def embed(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """tokens int64 [B, R] with placeholders where `patches` go, in order -> [B, R, E]."""
        x = F.embedding(tokens, self.text.embed_tokens.weight)
        place = (tokens == self.image_id).flatten().nonzero().flatten()
        rows = self.see(patches).to(x.dtype)
        return x.flatten(0, 1).index_copy(0, place, rows).view(x.shape)

    def rope(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, [1 or B, R, 1, D / 2], of M-RoPE positions int64 [3, B, R]."""
        if bool((positions == positions[:, :1]).all()):
            positions = positions[:, :1]
        rotary = self.text.rotary_emb
        axis = torch.repeat_interleave(torch.arange(3), torch.tensor(rotary.mrope_section))
        angles = positions[axis].permute(1, 2, 0).float() * rotary.inv_freq  # float32, as in transformers
        gain = rotary.attention_scaling
        return (angles.cos() * gain).unsqueeze(2).to(self._wide), (angles.sin() * gain).unsqueeze(2).to(self._wide)

    def hidden(self, x: Tensor, positions: Tensor, chunks: Plan, last: Plan, want: Tensor) -> Tensor:
        """Final hidden rows.

        x: [B, R, E]; positions: int64 [3, B, R]; chunks: over all rows; want: int64 [W] (or [B, W]), the rows to return; last: a
        plan whose queries are the wanted rows. Returns [B, W, E] in `dtype`, normalised; the final norm's weight is left to
        `logits`.
        """
        table = self.rope(positions)
        layers = list(self.text.layers)
        for layer in layers[:-1]:
            x = self._layer(layer, x, table, chunks, None)
        x = self._layer(layers[-1], x, table, last, want)
        return self._rms(x, self.text.norm)

    def _layer(self, layer: Any, x: Tensor, table: tuple[Tensor, Tensor], chunks: Plan, want: Tensor | None) -> Tensor:
        at, mlp, dtype = layer.self_attn, layer.mlp, self.dtype
        hq, hk, size = self.heads, self.kv_heads, self.size
        b, rows = x.shape[:2]
        h = self._rms(x, layer.input_layernorm)
        # The scale of the scores goes into the weights as well: one small product instead of one over all rows.
        scale = 1 / math.sqrt(size)
        weight = torch.cat([at.q_proj.weight * scale, at.k_proj.weight, at.v_proj.weight])
        weight = (weight * layer.input_layernorm.weight).to(dtype)
        bias = torch.cat([at.q_proj.bias * scale, at.k_proj.bias, at.v_proj.bias]).to(dtype)
        if want is None:
            qkv = F.linear(h, weight, bias).view(b, rows, hq + 2 * hk, size)
            qk = _Rotate.apply(qkv[:, :, : hq + hk], *table)
            q, k, v = qk[:, :, :hq], qk[:, :, hq:], qkv[:, :, hq + hk :]
        else:
            kv = F.linear(h, weight[hq * size :], bias[hq * size :]).view(b, rows, 2 * hk, size)
            k, v = _Rotate.apply(kv[:, :, :hk], *table), kv[:, :, hk:]
            x, h = _rows(x, want), _rows(h, want)
            q = F.linear(h, weight[: hq * size], bias[: hq * size]).view(b, -1, hq, size)
            q = _Rotate.apply(q, *(_rows(t, want) for t in table))
        x = x + self._linear(attend(q, k, v, chunks), at.o_proj)
        norm = layer.post_attention_layernorm
        both = (torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * norm.weight).to(dtype)
        gate, up = F.linear(self._rms(x, norm), both).chunk(2, dim=-1)
        return x + self._linear(F.silu(gate) * up, mlp.down_proj)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., E] -> [..., V] in float32 (float64 for a float64 model)."""
        return self._linear(hidden, self.model.lm_head, self.text.norm).to(self._wide)


def _rows(x: Tensor, want: Tensor) -> Tensor:
    """Rows `want` (int64 [W], or [B, W]) of x [B, R, ...] along the second dimension."""
    if want.ndim == 1:
        return x.index_select(1, want)
    if x.shape[0] != want.shape[0]:
        x = x.expand(want.shape[0], *x.shape[1:])
    index = want.view(*want.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)


def causal_plans(rows: int, want: Tensor, dtype: torch.dtype) -> tuple[list[Chunk], list[Chunk]]:
    """Plans of plain causal attention over `rows` rows, and of its wanted rows (int64 [W] sorted, or [B, W])."""
    order = torch.arange(rows)
    trunk = torch.zeros(rows, dtype=torch.long)
    one = torch.ones(1, 1, dtype=torch.bool)
    seen = visible(order, trunk, order, trunk, one)
    wanted = visible(order[want], trunk[want], order.expand(*want.shape[:-1], -1), trunk.expand(*want.shape[:-1], -1), one)
    return plan(seen, even_cuts(rows), dtype), plan(wanted, even_cuts(want.shape[-1]), dtype)
