"""The published training layout, written down slowly from the papers' rules: the oracle of `layout` and `convert`.

Fast-dVLM (arXiv 2604.06832): two rows per sample, one for each complementary mask, each `[noisy(L_text) | clean(L)]`. Every
position has a turn: 0 for the prompt, then 1, 2, ... for the answer's blocks.
    N2N: both noisy and of the same turn;  N2C: query noisy, key clean, of an earlier turn;
    C2C: both clean, key not later;  C2N: never.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from converters.data import Batch
from converters.forward import Forward
from decoding.scaffold import Scaffold


def turns(prompt: int, ends: Sequence[int]) -> list[int]:
    """Turn of every position of prompt and answer."""
    out = [0] * prompt
    start = 0
    for n, end in enumerate(ends, start=1):
        out += [n] * (end - start)
        start = end
    return out


def three_masks(noisy_turns: Sequence[int], clean_turns: Sequence[int]) -> Tensor:
    """bool [n + L, n + L] over `[noisy | clean]`, entry by entry."""
    n, total = len(noisy_turns), len(noisy_turns) + len(clean_turns)
    seen = torch.zeros(total, total, dtype=torch.bool)
    for q in range(total):
        for k in range(total):
            q_noisy, k_noisy = q < n, k < n
            if q_noisy and k_noisy:
                seen[q, k] = noisy_turns[q] == noisy_turns[k]
            elif q_noisy:
                seen[q, k] = noisy_turns[q] > clean_turns[k - n]
            elif not k_noisy:
                seen[q, k] = q >= k
    return seen


def loss(
    model: Qwen2_5_VLForConditionalGeneration,
    forward: Forward,
    batch: Batch,
    masked: Tensor,
    scaffold: Scaffold,
    ends: Sequence[int],
    mask_id: int,
    sections: dict[str, float],
    drop: set[int],
) -> Tensor:
    """Total loss of the published layout through the stock text model, sample by sample and copy by copy.

    drop: token ids that the noisy half leaves out (image placeholders and the like).
    """
    n = len(scaffold)
    items = 2 * n * len(batch.ids)
    weight = {row: sections.get(s.name, 1.0) for s in scaffold.sections for row in range(s.start, s.end)}
    patches = batch.patches.view(len(batch.ids), -1, batch.patches.shape[-1])
    total = torch.zeros((), dtype=torch.float64)
    for b in range(len(batch.ids)):
        p = int(batch.prompt_rows[b])
        tokens, positions = batch.tokens[b, : p + n], batch.positions[:, b, : p + n]
        clean = forward.embed(tokens[None], patches[b])[0]
        turn = turns(p, ends)
        kept = [i for i in range(p + n) if int(tokens[i]) not in drop or i >= p]
        for c in range(2):
            noisy = tokens.clone()
            noisy[p:][masked[c, b]] = mask_id
            embeds = torch.cat([model.model.language_model.embed_tokens(noisy[kept]), clean])
            seen = three_masks([turn[i] for i in kept], turn)
            bias = torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, torch.finfo(torch.float64).min)
            where = torch.cat([positions[:, kept], positions], dim=1)
            out = model.model.language_model(
                inputs_embeds=embeds[None], position_ids=where[:, None], attention_mask=bias[None, None], use_cache=False
            )
            logits = model.lm_head(out.last_hidden_state[0])
            for row in range(n):
                if masked[c, b, row]:
                    at = kept.index(p + row) - 1  # token shift inside the noisy half
                    total = total + weight[row] * F.cross_entropy(logits[at], batch.answers[b, row]) / items
                if c == 0:
                    at = len(kept) + p + row - 1
                    total = total + F.cross_entropy(logits[at], batch.answers[b, row]) / items
    return total
