"""The algorithms that SGLang is given: each drives one strategy of `decoding`, a round per step of the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sglang.srt.dllm.algorithm.base import DllmAlgorithm

from edge.core.errors import UnsupportedError
from serving.sglang_plugin import active, request
from serving.sglang_plugin.host.batch import part
from serving.sglang_plugin.lineage import Lineage
from serving.sglang_plugin.rounds import Rows, allowed, play

FORWARDS = "edge_forwards"
"""Key of `meta_info`: for every answer token the number of forwards up to it; the last is that of the answer."""


class EdgeAlgorithm(DllmAlgorithm):
    """A strategy over a context of plain causal KV."""

    requires_separate_context_encoding = True
    supported_attention_backends = ("torch_native", "triton", "flashinfer", "fa3")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if self.fdfo:
            raise UnsupportedError(
                f"{type(self).__name__} accepts any number of tokens a round: start the server with --no-dllm-fdfo"
            )
        self.checkpoint = active.checkpoint()
        self.requests: Sequence[Any] = ()
        """Requests of the batch at hand, set by a hook before `run`."""

    def run(self, model_runner: Any, forward_batch: Any, algo_states: Any = None) -> Any:
        requests = self.requests
        if not forward_batch.forward_mode.is_dllm_extend():
            return self._encode(model_runner, forward_batch, requests)
        lineages = [active.lineage(r) for r in requests]
        for lineage in lineages:
            lineage.begin()
        ran = [False]

        def forward(rows: Sequence[Rows], causal: bool) -> list[torch.Tensor]:
            model_runner.model.edge_causal = causal
            batch = part(forward_batch, rows, self.block_size, model_runner)
            out = model_runner.forward(batch, pp_proxy_tensors=None)
            ran[0] = out.can_run_graph
            each = out.logits_output.full_logits.split([len(r.tokens) for r in rows])
            return [logits[r.want.to(logits.device)] for r, logits in zip(rows, each, strict=True)]

        play(lineages, forward, self.checkpoint)
        tokens = [torch.tensor(self._said(r, x), dtype=torch.long) for r, x in zip(requests, lineages, strict=True)]
        return None, tokens, None, None, ran[0]

    def _encode(self, model_runner: Any, forward_batch: Any, requests: Sequence[Any]) -> Any:
        """A causal pass over contexts, or parts of them. The prediction behind each is what its strategy begins with."""
        if forward_batch.input_ids.numel() == 0:
            return None, [], None, None, False
        out = model_runner.forward(forward_batch, pp_proxy_tensors=None)
        logits = allowed(out.logits_output.next_token_logits, self.checkpoint.spec, self.checkpoint.vocab_size)
        for n, r in enumerate(requests):
            lineage = active.lineage(r)
            lineage.forwards += 1
            lineage.lead = logits[n]
        return out.logits_output, [], None, None, out.can_run_graph

    def _said(self, r: Any, lineage: Lineage) -> list[int]:
        """New answer tokens for the server. A request that only warms a prefix says one token, which the server cuts off."""
        if r.sampling_params.max_new_tokens > 0:
            fresh = lineage.take()
            r.customized_info = {FORWARDS: lineage.marks}
            return fresh
        if not lineage.finished:
            return []
        if request.wish(r).phase == "shared":
            request.remember(r, self.checkpoint, lineage)
        return [self.checkpoint.spec.mask_token_id]


class EdgeSelfSpec(EdgeAlgorithm):
    """Linear self-speculation, with a schema along its scaffold. Lossless."""


class EdgeThreshold(EdgeAlgorithm):
    """Confidence-threshold block diffusion."""


ALL = (EdgeSelfSpec, EdgeThreshold)
