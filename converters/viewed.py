"""Any causal language model of `transformers` on views: what attends to what is the view's, everything else the model's own code.

An attention function under the name "edge_view" is set on the text part; it ignores the mask that the model made. A layer's own
sliding window still holds, by the places that rows take. Only rows that are asked go through the head.
Shapes: `B` views, `R` rows of the longest one, `T` targets of a view, `H` heads, `D` head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from converters.methods.views import Sample, View
from edge.core.errors import InputError, UnsupportedError

ATTENTION = "edge_view"


class _Seen:
    """Of a batch of views. seen: bool [B, R, R]; place: int64 [B, R]."""

    def __init__(self, seen: Tensor, place: Tensor) -> None:
        self.seen, self.place = seen, place
        self._masks: dict[int | None, Tensor] = {}

    def mask(self, window: int | None) -> Tensor:
        """bool [B, 1, R, R]."""
        if window not in self._masks:
            seen = self.seen
            if window is not None:
                seen = seen & (self.place[:, :, None] - self.place[:, None] < window)
            self._masks[window] = seen[:, None]
        return self._masks[window]


_SEEN: ContextVar[_Seen] = ContextVar("edge_view_seen")


def view_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """In the form of `transformers`: query [B, H, R, D] -> [B, R, H, D]. Raises UnsupportedError for score caps and attention
    sinks."""
    for name in ("softcap", "s_aux"):
        if extra.get(name) is not None:
            raise UnsupportedError(f"{type(module).__name__} uses {name}, which training on views does not implement")
    mask = _SEEN.get().mask(sliding_window)
    out = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, view_attention)


def prepare(model: Any) -> None:
    """Have a model attend by views from now on. Raises UnsupportedError for one with attention code of its own."""
    config = model.config
    text = config.get_text_config()
    name = next((k for k in getattr(config, "sub_configs", {}) if getattr(config, k, None) is text), None)
    model.set_attn_implementation(ATTENTION if text is config else {name: ATTENTION})
    if text._attn_implementation != ATTENTION:
        raise UnsupportedError(f"{type(model).__name__} does not route attention through the interface of transformers")


@dataclass(frozen=True)
class Sight:
    """What a model makes of a sample's pictures. vision: bool [L], its placeholders; features: [n, E], of these in order;
    positions: int64 [A, L], where its tokens lie on the model's rotary axes; deep: what is added to the placeholders behind the
    first layers, [n, E] each (Qwen3-VL's deepstack).
    """

    vision: Tensor
    features: Tensor
    positions: Tensor
    deep: tuple[Tensor, ...] = ()

    def reaching(self, length: int) -> Sight:
        """For a sample with words behind it, up to `length` tokens: a method may have padded it."""
        more = length - len(self.vision)
        if more <= 0:
            return self
        after = self.positions[:, -1:] + 1 + torch.arange(more)
        vision = torch.cat([self.vision, self.vision.new_zeros(more)])
        return replace(self, vision=vision, positions=torch.cat([self.positions, after], 1))


def look(model: Any, sample: Sample, pictures: Mapping[str, Tensor]) -> Sight:
    """pictures: what the model's own `get_image_features` takes, of a processor. Gradients flow into the tower.

    Raises InputError where pictures and placeholders do not match.
    """
    assert sample.vision is not None
    found = model.get_image_features(**pictures)
    deep = tuple(_joined(level) for level in getattr(found, "deepstack_features", None) or ())
    features = _joined(getattr(found, "pooler_output", found))
    if len(features) != int(sample.vision.sum()):
        raise InputError(f"sample: has {int(sample.vision.sum())} placeholders and its pictures take {len(features)}")
    own = getattr(getattr(model, "model", None), "get_rope_index", None)
    if own is None or "image_grid_thw" not in pictures:
        return Sight(sample.vision, features, torch.arange(len(sample))[None], deep)
    kinds = sample.vision.to(torch.int)[None]
    positions, _ = own(sample.ids[None], mm_token_type_ids=kinds, image_grid_thw=pictures["image_grid_thw"])
    return Sight(sample.vision, features, positions[:, 0], deep)


def _joined(parts: Iterable[Tensor]) -> Tensor:
    """[n, E] of one tensor a picture."""
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])


def losses(model: Any, views: Sequence[View], sights: Sequence[Sight] | None = None) -> list[Tensor]:
    """Cross-entropies of the targets of each view, float [T] each, for a `prepare`d model.

    sights: of each view's sample; left out for text. Rows that repeat a placeholder, noisy ones among them, get its feature.
    """
    rows = max(len(v.tokens) for v in views)
    if sights is not None:
        sights = [s.reaching(int(v.source.max()) + 1) for s, v in zip(sights, views, strict=True)]
    tokens = torch.zeros(len(views), rows, dtype=torch.long)
    place = torch.zeros(len(views), rows, dtype=torch.long)
    axes = 1 if sights is None else sights[0].positions.shape[0]
    positions = torch.zeros(axes, len(views), rows, dtype=torch.long)
    seen = torch.eye(rows, dtype=torch.bool).repeat(len(views), 1, 1)  # padding sees itself, or softmax has nothing to sum
    for b, v in enumerate(views):
        n = len(v.tokens)
        tokens[b, :n], place[b, :n], seen[b, :n, :n] = v.tokens, v.source, v.seen()
        positions[:, b, :n] = v.source if sights is None else sights[b].positions[:, v.source]
    device = model.device
    embeds = _embedded(model, tokens.to(device), views, sights)
    token = _SEEN.set(_Seen(seen.to(device), place.to(device)))
    try:
        at = positions.to(device)
        decoder = model.get_decoder()
        more = _deep(views, sights, rows, device)
        hidden = decoder(inputs_embeds=embeds, position_ids=at if axes > 1 else at[0], use_cache=False, **more).last_hidden_state
    finally:
        _SEEN.reset(token)
    head = model.get_output_embeddings()
    out = []
    for b, v in enumerate(views):
        logits = head(hidden[b, v.at.to(device)])
        wide = logits if logits.dtype == torch.float64 else logits.float()
        out.append(F.cross_entropy(wide, v.label.to(device), reduction="none"))
    return out


def _embedded(model: Any, tokens: Tensor, views: Sequence[View], sights: Sequence[Sight] | None) -> Tensor:
    """[B, R, E]: tokens, and features where a row repeats a placeholder."""
    out = model.get_input_embeddings()(tokens)
    if sights is None:
        return out
    rows = []
    for b, (v, sight) in enumerate(zip(views, sights, strict=True)):
        here, number = _placed(v, sight)
        rows.append(out[b].index_copy(0, here.to(out.device), sight.features[number.to(out.device)].to(out.dtype)))
    return torch.stack(rows)


def _placed(view: View, sight: Sight) -> tuple[Tensor, Tensor]:
    """Rows that repeat a placeholder, and which one, int64 [n] each."""
    here = sight.vision[view.source].nonzero().flatten()
    return here, torch.cumsum(sight.vision.long(), 0)[view.source[here]] - 1


def _deep(views: Sequence[View], sights: Sequence[Sight] | None, rows: int, device: Any) -> dict[str, Any]:
    """What a decoder with deepstack takes beside embeddings: where, bool [B, R], and what, row by row of one view after the
    other."""
    if sights is None or not sights[0].deep:
        return {}
    where = torch.zeros(len(views), rows, dtype=torch.bool)
    parts: list[list[Tensor]] = [[] for _ in sights[0].deep]
    for b, (v, sight) in enumerate(zip(views, sights, strict=True)):
        here, number = _placed(v, sight)
        where[b, here] = True
        for part, level in zip(parts, sight.deep, strict=True):
            part.append(level[number.to(device)])
    return {"visual_pos_masks": where.to(device), "deepstack_visual_embeds": [torch.cat(p) for p in parts]}
