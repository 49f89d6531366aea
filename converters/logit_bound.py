"""How far quantization may move a logit, derived, and how far it did.

To first order a logit moves by sum_k g_k e_k, where e_k is the rounding error of number k (a weight, or an element of a product's
input) and g_k the logit's derivative by it. Each |e_k| is at most d_k, half an ulp of E4M3 at that number (2^-4 of it, where it is
normal). Taking the errors as independent with mean zero, Hoeffding's inequality gives

    P(|move| >= t) <= 2 exp(-t^2 / (2 sum_k g_k^2 d_k^2)),   so with probability 1 - 1e-6   t = 5.39 sqrt(sum_k g_k^2 d_k^2).

Without independence the same derivatives give sum_k |g_k| d_k, which no rounding can exceed to first order; it is reported beside,
and is far above anything that happens. Derivatives are exact (autograd), at the unquantized model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from converters.calibration import Request
from converters.fidelity import encoded
from converters.quantize import Quantized
from edge.engine import Engine
from edge.models.backbone import flat_axes
from edge.models.fp8_twin import bare
from edge.models.hf import TransformersModel
from edge.quant.e4m3 import decode, rounded, rounding_bound, token_scales

CHANCE = 1e-6
LIMIT = 500_000_000
"""Weights beyond which derivatives by all of them are not taken."""


@dataclass(frozen=True, slots=True)
class LogitError:
    """One logit. weights_*: with dequantized weights alone; all_*: with rounded inputs too; worst: bound without independence."""

    weights_error: float
    weights_bound: float
    all_error: float
    all_bound: float
    worst: float


def logit_errors(
    reference: Engine, made: Quantized, answered: Sequence[tuple[Request, Sequence[int]]], count: int
) -> list[LogitError]:
    """For each request with its answer's tokens, the two largest logits at `count` rows spread over the answer.

    reference: the unquantized model, smoothed if the other is, with the "transformers" adapter; it is left as it was.
    """
    backbone = reference.backbone
    assert isinstance(backbone, TransformersModel)
    full = {bare(n): n for n in made.names}
    products = {bare(n): m for n, m in backbone.model.named_modules() if bare(n) in full}
    with backbone.without_tape() as model:
        return [e for request, tokens in answered for e in _of(reference, model, made, products, full, request, tokens, count)]


def _of(
    reference: Engine,
    model: Any,
    made: Quantized,
    products: dict[str, Any],
    full: dict[str, str],
    request: Request,
    tokens: Any,
    count: int,
) -> Iterator[LogitError]:
    run, prompt = _forward(reference, model, request, tokens)
    rows = torch.linspace(prompt - 1, prompt + len(tokens) - 2, count).round().long().unique()
    seen: dict[int, tuple[Tensor, str]] = {}

    def keep(name: str, x: Tensor) -> Tensor:
        seen.setdefault(id(x), (x, name))  # products of one input round it once
        return x

    weights = [p.weight for p in products.values()]
    for w in weights:
        w.requires_grad_(True)
    try:
        with _inputs(products, keep):
            clean = run(True)[rows]
        top = clean.topk(2).indices
        bounds = [_bounds(z, weights, products, seen, made, full) for line, at in zip(clean, top, strict=True) for z in line[at]]
    finally:
        for w in weights:
            w.requires_grad_(False)
    with _stored(products, made, full):
        dequantized = run(False)[rows].gather(1, top)
        with _inputs(products, lambda name, x: rounded(x, _scale(made, full[name], x))):
            quantized = run(False)[rows].gather(1, top)
    chosen = clean.detach().gather(1, top)
    errors = zip((dequantized - chosen).abs().flatten(), (quantized - chosen).abs().flatten(), bounds, strict=True)
    for by_weights, by_all, (w, x, worst) in errors:
        yield LogitError(float(by_weights), _factor() * math.sqrt(w), float(by_all), _factor() * math.sqrt(w + x), worst)


def _bounds(z: Tensor, weights: list[Tensor], products: Any, seen: Any, made: Quantized, full: Any) -> tuple[float, float, float]:
    """Sums of (g d)^2 over weights and over inputs, and of |g| d over both."""
    inputs = [x for x, _ in seen.values()]
    gradients = torch.autograd.grad(z, [*weights, *inputs], retain_graph=True, allow_unused=True)
    squares, worst = [0.0, 0.0], 0.0
    steps = [
        rounding_bound(w.detach(), made.after[full[n] + ".weight_scale"].to(w)) for n, w in zip(products, weights, strict=True)
    ]
    steps += [rounding_bound(x.detach(), _scale(made, full[name], x.detach())) for x, name in seen.values()]
    for n, (g, d) in enumerate(zip(gradients, steps, strict=True)):
        if g is not None:
            move = (g * d).double().abs()
            squares[n >= len(weights)] += float(move.square().sum())
            worst += float(move.sum())
    return squares[0], squares[1], worst


def _forward(reference: Engine, model: Any, request: Request, tokens: Sequence[int]) -> tuple[Callable[[bool], Tensor], int]:
    """A causal forward of prompt and answer: `run(with_gradient)` gives logits [R, V]; and the prompt's rows."""
    b = reference.backbone
    ids, features = encoded(reference, request)
    axes, delta = b.axes(ids, features) if b.spec.position_mode == "mrope" else flat_axes(len(ids))
    every = torch.cat([ids, torch.tensor(list(tokens))])
    rest = torch.arange(len(ids), len(every)) + delta
    at = torch.cat([axes, rest.expand(axes.shape[0], -1)], dim=1).to(b.device)
    embeds = b.embed(every).detach().clone()
    if features is not None:
        embeds[(every == b.image_token_id).to(b.device)] = features.features.clone().to(embeds)

    def run(gradient: bool) -> Tensor:
        x = embeds.clone().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            return model(inputs_embeds=x[None], position_ids=at if len(at) == 1 else at[:, None], use_cache=False).logits[0].float()

    return run, len(ids)


@contextmanager
def _inputs(products: dict[str, Any], change: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    handles = [m.register_forward_pre_hook(lambda _, a, n=n: (change(n, a[0]),)) for n, m in products.items()]
    try:
        yield
    finally:
        for h in handles:
            h.remove()


@contextmanager
def _stored(products: dict[str, Any], made: Quantized, full: dict[str, str]) -> Iterator[None]:
    """With the weights as they were stored."""
    before = {n: m.weight.data for n, m in products.items()}
    for n, m in products.items():
        name = full[n] + ".weight"
        m.weight.data = decode(made.after[name], made.after[name + "_scale"], torch.float32).to(m.weight)
    try:
        yield
    finally:
        for n, m in products.items():
            m.weight.data = before[n]


def _scale(made: Quantized, name: str, x: Tensor) -> Tensor:
    shared = made.after.get(name + ".input_scale")
    return token_scales(x) if shared is None else shared.to(x)


def _factor() -> float:
    return math.sqrt(2 * math.log(2 / CHANCE))
