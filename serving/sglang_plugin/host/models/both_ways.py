"""Turns an autoregressive model class of SGLang into one of block diffusion: a block's attention, and logits of all its rows."""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.layers.logits_processor import LogitsProcessor
from sglang.srt.layers.radix_attention import AttentionType


class BothWays:
    """Mixed in before a model class. Set `edge_causal` before a forward of a block: whether its rows are in causal order.

    It lives on the model because attributes of a `ForwardBatch` are lost where it is copied. Everything else is causal.
    """

    edge_causal = True

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.logits_processor = LogitsProcessor(config, return_full_logits=True)
        self._edge_attention = [layer.self_attn.attn for layer in self.model.layers]  # type: ignore[attr-defined]

    @torch.no_grad()
    def forward(self, input_ids: Any, positions: Any, forward_batch: Any, *args: Any, **kwargs: Any) -> Any:
        both = forward_batch.forward_mode.is_dllm_extend() and not self.edge_causal
        for attention in self._edge_attention:
            attention.attn_type = AttentionType.ENCODER_ONLY if both else AttentionType.DECODER
        return super().forward(input_ids, positions, forward_batch, *args, **kwargs)  # type: ignore[misc]
