"""A host without a cache: every call recomputes every row from its token by the visibility rule. The oracle of the tape."""

from __future__ import annotations

import torch
from torch import Tensor

from edge.core.blockspec import BlockSpec
from edge.core.types import LINEAGE, TRUNK, After, Call, Reply
from edge.core.visibility import forest, visible


class TinyTransformer:
    """Two pre-norm attention layers with random weights, float64. Rows know their position through a random table."""

    def __init__(self, seed: int, vocab: int, width: int = 16, layers: int = 2, max_len: int = 256, scale: float = 1.0) -> None:
        g = torch.Generator().manual_seed(seed)

        def rand(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64) * scale

        self.vocab, self.width = vocab, width
        self.embedding, self.positions = rand(vocab, width), rand(max_len, width)
        self.layers = [tuple(rand(width, width) / width**0.5 for _ in range(5)) for _ in range(layers)]
        self.head = rand(width, vocab)

    def __call__(self, tokens: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """Logits float64 [R, V] of rows that see each other by `mask` bool [R, R]."""
        x = self.embedding[tokens] + self.positions[position]
        for q, k, v, up, down in self.layers:
            h = x / x.pow(2).mean(-1, keepdim=True).sqrt()
            scores = (h @ q) @ (h @ k).T / self.width**0.5
            x = x + scores.masked_fill(~mask, float("-inf")).softmax(-1) @ (h @ v)
            h = x / x.pow(2).mean(-1, keepdim=True).sqrt()
            x = x + torch.tanh(h @ up) @ down
        return x / x.pow(2).mean(-1, keepdim=True).sqrt() @ self.head


def parents(highest: int) -> list[int]:
    """Of branches 0..highest: guesses under the trunk of their lineage, those under the trunk."""
    return [-1 if b == TRUNK else TRUNK if b % LINEAGE == 0 else b - b % LINEAGE for b in range(highest + 1)]


class SlowHost:
    """Implements `edge.core.types.Host`. forwards: calls so far; kept: (token, order, position, branch) of permanent rows."""

    def __init__(self, model: TinyTransformer, spec: BlockSpec) -> None:
        self.model, self.spec = model, spec
        self.kept: list[tuple[int, int, int, int]] = []
        self.forwards = 0
        self.last: Call | None = None

    def forward(self, call: Call) -> Reply:
        self.forwards += 1
        self.last = call
        n = len(self.kept)
        tokens = torch.where(call.masked, self.spec.mask_token_id, call.tokens)
        old = torch.tensor(self.kept, dtype=torch.long).reshape(-1, 4)
        order, position = torch.cat([old[:, 1], call.order]), torch.cat([old[:, 2], call.position])
        branch = torch.cat([old[:, 3], call.branch])
        mask = visible(order, branch, order, branch, forest(parents(int(branch.max()))))
        logits = self.model(torch.cat([old[:, 0], tokens]), position, mask)[n:]
        raw = [self._raw(call, w.row) if not isinstance(w, After) else w.row for w in call.want]
        out = logits[torch.tensor(raw, dtype=torch.long)]
        out[:, self.spec.mask_token_id] = float("-inf")
        return Reply(out)

    def _raw(self, call: Call, row: int) -> int:
        if self.spec.draft_shift == 0:
            return row
        there = (call.position == call.position[row] - 1) & (call.branch == call.branch[row])
        before = there.nonzero().flatten()
        assert before.numel() == 1, "a row wanted `At` needs its predecessor in the same call"
        return int(before[0])

    def keep(self, rows: Tensor) -> None:
        assert self.last is not None
        c = self.last
        assert not bool(c.masked[rows].any()) or self.spec.commit == "none", "a kept row must hold its final token"
        self.kept += [(int(c.tokens[r]), int(c.order[r]), int(c.position[r]), int(c.branch[r])) for r in rows]
        self.last = None
