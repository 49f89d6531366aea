"""The algorithms that SGLang is given: each drives one strategy of `decoding`, a round per step of the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
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
LOGPROBS = "edge_logprobs"
"""Key of `meta_info`, where it was asked for: for every answer token its log-probability."""


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
        play(lineages, partial(_forward, model_runner, forward_batch), self.checkpoint)
        tokens = [torch.tensor(self._said(r, x), dtype=torch.long) for r, x in zip(requests, lineages, strict=True)]
        return None, tokens, None, None, False

    def _encode(self, model_runner: Any, forward_batch: Any, requests: Sequence[Any]) -> Any:
        """A causal pass over contexts, or parts of them. The prediction behind each is what its strategy begins with."""
        if forward_batch.input_ids.numel() == 0:
            return None, [], None, None, False
        out = model_runner.forward(forward_batch, pp_proxy_tensors=None)
        for r, logits in zip(requests, out.logits_output.next_token_logits, strict=True):
            self._encoded(active.lineage(r), logits)
        return out.logits_output, [], None, None, out.can_run_graph

    def _encoded(self, lineage: Lineage, logits: torch.Tensor) -> None:
        lineage.forwards += 1
        lineage.lead = allowed(logits, self.checkpoint.spec, self.checkpoint.vocab_size)

    def _said(self, r: Any, lineage: Lineage) -> list[int]:
        """New answer tokens for the server. A request that only warms a prefix says one token, which the server cuts off."""
        if r.sampling_params.max_new_tokens > 0:
            fresh = lineage.take()
            logprobs = lineage.logprobs()
            r.customized_info = {FORWARDS: lineage.marks} | ({} if logprobs is None else {LOGPROBS: logprobs})
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


class EdgeBlockCausal(EdgeAlgorithm):
    """Threshold decoding for checkpoints whose blocks see each other both ways and everything before them, prompt included
    (DiffusionVL, SDAR). A context takes one forward per block, since a kernel is causal or both ways, not both.
    """

    def _encode(self, model_runner: Any, forward_batch: Any, requests: Sequence[Any]) -> Any:
        if forward_batch.input_ids.numel() == 0:
            return None, [], None, None, False
        size = self.checkpoint.spec.block_size
        ids = forward_batch.input_ids.cpu().split(forward_batch.extend_seq_lens_cpu)
        for at in range(0, max(len(i) for i in ids), size):
            rows = [
                Rows(n, at, i[at : at + size], torch.tensor([len(i[at : at + size]) - 1])) for n, i in enumerate(ids) if at < len(i)
            ]
            for r, logits in zip(rows, _forward(model_runner, forward_batch, rows, False), strict=True):
                self._encoded(active.lineage(requests[r.number]), logits[0])
        return None, [], None, None, False


def _forward(model_runner: Any, whole: Any, rows: Sequence[Rows], causal: bool) -> list[torch.Tensor]:
    """A `rounds.Forward` over a batch of the server."""
    model_runner.model.edge_causal = causal
    out = model_runner.forward(part(whole, rows, model_runner), pp_proxy_tensors=None)
    each = out.logits_output.full_logits.split([len(r.tokens) for r in rows])
    return [logits[r.want.to(logits.device)] for r, logits in zip(rows, each, strict=True)]


ALL = (EdgeSelfSpec, EdgeThreshold, EdgeBlockCausal)
