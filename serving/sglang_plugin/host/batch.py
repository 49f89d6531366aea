"""Parts of a batch: the rows of some of its requests as a forward of their own.

The scheduler gives every request one window of rows. A call of a strategy has as many rows as it needs, so the rest of the window
is left out of the forward: nothing is padded, and a draft sees exactly what it sees in the embedded engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from sglang.srt.model_executor.forward_batch_info import ForwardBatch, ForwardMode, compute_position

from serving.sglang_plugin.rounds import Rows


def part(whole: ForwardBatch, rows: Sequence[Rows], runner: Any) -> ForwardBatch:
    """The forward of `rows`, taken from a batch of contexts or windows, as one of blocks: logits of all rows."""
    device = whole.seq_lens.device
    numbers = [r.number for r in rows]
    assert whole.extend_seq_lens_cpu is not None
    first = [0, *accumulate(whole.extend_seq_lens_cpu)]
    at = torch.cat([torch.arange(len(r.tokens)) + first[r.number] + r.start for r in rows]).to(device)
    prefixes = [prefix(whole, r.number) + r.start for r in rows]
    lens = [len(r.tokens) for r in rows]
    seq_lens_cpu = torch.tensor([p + n for p, n in zip(prefixes, lens, strict=True)], dtype=torch.int64)
    extend_seq_lens = torch.tensor(lens, dtype=torch.int32, device=device)
    extend_prefix_lens = torch.tensor(prefixes, dtype=torch.int32, device=device)
    pick = torch.tensor(numbers, device=device)
    _, start_loc = compute_position(runner.prefill_attention_backend_str, extend_prefix_lens, extend_seq_lens, sum(lens))
    slots = whole.out_cache_loc_virtual if whole.out_cache_loc_virtual is not None else whole.out_cache_loc
    out = replace(
        whole,
        forward_mode=ForwardMode.DLLM_EXTEND,
        batch_size=len(rows),
        input_ids=torch.cat([r.tokens for r in rows]).to(device, whole.input_ids.dtype),
        req_pool_indices=whole.req_pool_indices[pick],
        req_pool_indices_cpu=_chosen(whole.req_pool_indices_cpu, numbers),
        seq_lens=seq_lens_cpu.to(device, whole.seq_lens.dtype),
        seq_lens_cpu=seq_lens_cpu,
        seq_lens_sum=int(seq_lens_cpu.sum()),
        orig_seq_lens=_chosen(whole.orig_seq_lens, numbers),
        out_cache_loc=slots[at],
        out_cache_loc_virtual=None,
        out_cache_loc_is_physical=False,
        kv_loc_plan=None,
        positions=whole.positions[at],
        mrope_positions=None if whole.mrope_positions is None else whole.mrope_positions[:, at],
        mm_token_modalities=None if whole.mm_token_modalities is None else whole.mm_token_modalities[at],
        extend_num_tokens=sum(lens),
        extend_seq_lens=extend_seq_lens,
        extend_seq_lens_cpu=lens,
        extend_prefix_lens=extend_prefix_lens,
        extend_prefix_lens_cpu=prefixes,
        extend_start_loc=start_loc,
        extend_logprob_start_lens_cpu=lens,
        mm_inputs=_chosen(whole.mm_inputs, numbers),
        rids=_chosen(whole.rids, numbers),
        lora_ids=_chosen(whole.lora_ids, numbers),
        dllm_prompt_mask=None,
    )
    if whole.global_num_token_non_padded is not None:
        out.global_num_token_non_padded = torch.full_like(whole.global_num_token_non_padded, sum(lens))
        out.global_num_token_non_padded_cpu = sum(lens)
    translator = runner.kv_index_translator
    translator.own_plan(out).bind(out, translator, cols=None)
    return out


def prefix(whole: ForwardBatch, number: int) -> int:
    """Rows of a request that are encoded before this batch."""
    assert whole.extend_prefix_lens_cpu is not None
    return whole.extend_prefix_lens_cpu[number]


def _chosen(values: Any, numbers: list[int]) -> Any:
    if values is None:
        return None
    if isinstance(values, torch.Tensor):
        return values[torch.tensor(numbers, device=values.device)]
    return [values[n] for n in numbers]
