"""What quantization changed: each product's error, agreement with the source in tokens, and what speculation accepts.

Tokens are counted where the model chose: frozen and forced rows of a schema are the same by construction and would flatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from converters.calibration import Request, answer, listen
from converters.quantize import Quantized
from decoding import rows
from decoding.rules import restrict
from edge.core.types import After, Canvas
from edge.engine import Engine
from edge.models.fp8_twin import bare
from edge.models.session import Session
from edge.quant.e4m3 import decode, rounded, rounding_bound, token_scales


@dataclass(slots=True)
class ProductError:
    """Of one product on its own: its input is the source's. weight: |W_q - W| / |W|; output: |y_q - y| / |y| over all rows, both
    in the Frobenius norm; worst: the largest error of an output over the bound of that output (`_bound`), at most 1."""

    module: str
    weight: float
    output: float
    worst: float


def smoothed_reference(reference: Engine, made: Quantized) -> Engine:
    """`reference` with the weights that were quantized, where SmoothQuant moved them: the same function of its prompts."""
    backbone: Any = reference.backbone
    moved = {bare(k): t for k, t in made.before.items()}
    with torch.no_grad():
        for name, parameter in backbone.model.named_parameters():
            if bare(name) in moved:
                parameter.copy_(moved[bare(name)])
    return reference


def product_errors(reference: Engine, made: Quantized, requests: Sequence[Request]) -> list[ProductError]:
    """reference: the source (smoothed, if it was) with the "transformers" adapter."""
    sums = {bare(n): _Sums(made, n) for n in made.names}
    remove = listen(reference, lambda name, module, x: sums[name].hear(x[0]) if name in sums else None)
    try:
        for request in requests:
            answer(reference, request, "self-spec" if reference.spec.causal_mode else "threshold")
    finally:
        remove()
    return [ProductError(n, s.weight_error, (s.error / s.total) ** 0.5, s.worst) for n, s in sums.items()]


class _Sums:
    def __init__(self, made: Quantized, name: str) -> None:
        self.weight = made.before[name + ".weight"].float()
        scale = made.after[name + ".weight_scale"]
        self.stored = decode(made.after[name + ".weight"], scale)
        self.step = rounding_bound(self.weight, scale)
        shared = made.after.get(name + ".input_scale")
        self.scale = shared
        self.error = self.total = self.worst = 0.0

    @property
    def weight_error(self) -> float:
        return float((self.stored - self.weight).norm() / self.weight.norm())

    def hear(self, x: Tensor) -> None:
        """x: [R, in]."""
        x = x.detach().float().cpu()
        scale = token_scales(x) if self.scale is None else self.scale
        wanted, got = x @ self.weight.T, rounded(x, scale) @ self.stored.T
        step = rounding_bound(x, scale)
        # |(x + a)(w + b) - xw| <= |x| |b| + |a| (|w| + |b|), summed over the inputs
        bound = x.abs() @ self.step.T + step @ (self.weight.abs() + self.step).T
        self.error += float((got - wanted).square().sum())
        self.total += float(wanted.square().sum())
        self.worst = max(self.worst, float(((got - wanted).abs() / bound.clamp(min=1e-30)).max()))


@dataclass(slots=True)
class Agreement:
    """tokens: chosen by the source's greedy causal decoding; agreed: those that the quantized model chooses after the same tokens
    (teacher-forced). When each decodes on its own: placed, tokens that are the same at the same row; exact, answers that are the
    same. accept_*: chosen tokens per forward of
    self-speculation, at the checkpoint's block size."""

    requests: int = 0
    tokens: int = 0
    agreed: int = 0
    placed: int = 0
    exact: int = 0
    open_before: int = 0
    open_after: int = 0
    forwards_before: int = 0
    forwards_after: int = 0
    differing: list[int] = field(default_factory=list)
    """Disagreeing tokens of every request."""

    @property
    def share(self) -> float:
        return self.agreed / max(self.tokens, 1)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "agreement": self.share,
            "agreement_alone": self.placed / max(self.tokens, 1),
            "exact_answers": self.exact / max(self.requests, 1),
            "forwards_before": self.forwards_before / max(self.requests, 1),
            "forwards_after": self.forwards_after / max(self.requests, 1),
            "accept_before": self.open_before / max(self.forwards_before, 1),
            "accept_after": self.open_after / max(self.forwards_after, 1),
            "requests_with_a_difference": sum(d > 0 for d in self.differing),
        }


def agreement(source: Engine, quantized: Engine, requests: Sequence[Request]) -> Agreement:
    """Both decode every request by themselves, and the quantized one follows the source's answer. Needs a causal mode."""
    out = Agreement()
    for request in requests:
        greedy = answer(source, request, "ar")
        rows_, chosen = choices(quantized, request, greedy.tokens)
        wanted = torch.tensor(greedy.tokens)[rows_]
        alone = answer(quantized, request, "ar").tokens
        before, after = (answer(e, request, "self-spec") for e in (source, quantized))
        out.requests += 1
        out.tokens += len(wanted)
        out.agreed += int((wanted == chosen).sum())
        out.differing.append(int((wanted != chosen).sum()))
        out.exact += alone == greedy.tokens
        out.placed += sum(r < len(alone) and alone[r] == greedy.tokens[r] for r in rows_.tolist())
        out.forwards_before += before.forwards
        out.forwards_after += after.forwards
        out.open_before += before.open_tokens
        out.open_after += after.open_tokens
    return out


def choices(engine: Engine, request: Request, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The rows of the answer `tokens` where there was a choice, and the engine's own choice after the tokens before each of them.
    Two tensors int64 [n]."""
    ids, features = encoded(engine, request)
    said = torch.tensor(list(tokens), dtype=torch.long)
    asked = _asked(engine, request, said)
    canvas = Canvas.open(torch.cat([ids, said]), 0)
    session = Session(engine.backbone, ids, features, capacity=len(canvas))
    wanted = tuple(After(len(ids) + row - 1) for row, _ in asked)
    logits = session.forward(rows.causal(canvas, 0, len(canvas), wanted)).logits
    own = torch.cat([restrict(logits[n][None], allowed).argmax(-1) for n, (_, allowed) in enumerate(asked)])
    return torch.tensor([row for row, _ in asked]), own


def encoded(engine: Engine, request: Request) -> tuple[Tensor, Any]:
    """Prompt ids int64 [P] and image features of a request."""
    features = engine.backbone.encode_images(request.images) if len(request.images) else None
    return torch.tensor(engine.tokenizer.chat(request.messages, features.counts if features is not None else ())), features


def _asked(engine: Engine, request: Request, said: Tensor) -> list[tuple[int, list[Tensor] | None]]:
    """Rows of the answer int64 [N] where there was a choice, with the ids they had (None: all)."""
    if request.schema is None:
        return [(row, None) for row in range(len(said))]
    compiled: Any = engine.constraint(request.schema)
    rule = compiled.within(request.max_new_tokens) if hasattr(compiled, "within") else compiled
    cursor, asked = rule.cursor(0, said), []
    for row, token in enumerate(said.tolist()):
        allowed = cursor.ids()
        if allowed.numel() > 1:
            asked.append((row, [allowed]))
        cursor.step(token)
    return asked
