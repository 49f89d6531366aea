"""What a conversion can get wrong, looked for in a finished checkpoint: `edge verify`.

Samples are prompts with what the checkpoint itself answers, token by token: drafts of a good conversion agree with that, so
masked tokens are cheap in the convention that it was trained with and dear in any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.methods.noise import draw
from converters.methods.views import Rows, Sample, View, answer_blocks, asked, doubled, extended, next_tokens, total
from converters.viewed import Sight, look, losses, prepare
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.engine import Engine
from edge.generation import Generation
from edge.models.hf import TransformersModel

SHARE = 0.5
"""Of an answer's tokens that are masked."""
FAR = 1.3
"""How much dearer masked tokens have to be in the wrong convention."""
STEPS, RATE, FALL = 12, 1e-4, 0.9
"""Of the batch that is learnt by heart: steps, learning rate, and what is left of its loss at most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of a checkpoint. messages: in chat form, or token ids; schema: what its answer may be."""

    messages: Sequence[Any]
    images: tuple[Any, ...] = ()
    schema: Any = None


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. ok: None where the check does not apply; said: the figure, and what it is held against."""

    name: str
    ok: bool | None
    said: str


def verify(path: Path, prompts: Sequence[Asked], *, parent: Path | None = None, tokens: int = 32) -> Iterator[Check]:
    """All checks, one after the other. parent: what the checkpoint was made from. tokens: of an answer without a schema.

    Raises what loading raises, InputError without prompts.
    """
    if not prompts:
        raise InputError("verify: there is no prompt; give at least one")
    engine = Engine.load(path, adapter="transformers", dtype="float32")
    answered = [_answered(engine, p, tokens) for p in prompts]
    yield _accepted(engine, prompts, answered, tokens)
    backbone = engine.backbone
    assert isinstance(backbone, TransformersModel)
    model, spec = backbone.model, engine.spec
    given = [_pictures(backbone, p) for p in prompts]
    yield _parent(model, parent, answered, given)
    prepare(model)
    sights = [look(model, s, g) if g else None for s, g in zip(answered, given, strict=True)]
    yield _leak(model, spec, answered, sights)
    yield from _conventions(model, spec, answered, sights)
    yield _overfit(model, spec, answered, sights)


def _answered(engine: Engine, prompt: Asked, tokens: int) -> Sample:
    """The prompt and the checkpoint's own answer, by next tokens where it has a causal mode."""
    before = engine.ids(prompt.messages, images=list(prompt.images))
    said = _say(engine, prompt, "ar" if engine.spec.causal_mode else "static", tokens).tokens
    ids = torch.tensor([*before, *said])
    frozen = torch.zeros(len(ids), dtype=torch.bool)
    if prompt.schema is not None and isinstance(compiled := engine.constraint(prompt.schema), Scaffold):
        frozen[len(before) :] = compiled.frozen[: len(said)]
    return Sample(ids, torch.arange(len(ids)) >= len(before), ids == (engine.backbone.image_token_id or -1), frozen)


def _pictures(backbone: TransformersModel, prompt: Asked) -> dict[str, Tensor]:
    return backbone.processed(prompt.images) if prompt.images else {}


def _say(engine: Engine, prompt: Asked, strategy: str, tokens: int) -> Generation:
    images = list(prompt.images)
    if prompt.schema is not None:
        return engine.generate(prompt.messages, images=images, strategy=strategy, schema=prompt.schema)
    return engine.generate(prompt.messages, images=images, strategy=strategy, max_new_tokens=tokens)


def _accepted(engine: Engine, prompts: Sequence[Asked], answered: Sequence[Sample], tokens: int) -> Check:
    name = "self-speculation gives the causal answer, in fewer forwards"
    if not engine.spec.causal_mode:
        return Check(name, None, "no causal mode: nothing is lossless here")
    forwards = said = 0
    same = True
    for prompt, sample in zip(prompts, answered, strict=True):
        found = _say(engine, prompt, "self-spec", tokens)
        same &= found.tokens == sample.ids[sample.answer].tolist()
        forwards, said = forwards + found.forwards, said + len(found.tokens)
    return Check(
        name, same and said > forwards, f"{said / forwards:.2f} tokens a forward, {'equal' if same else 'NOT equal'} to ar"
    )


def _parent(model: Any, parent: Path | None, answered: Sequence[Sample], given: Sequence[dict[str, Tensor]]) -> Check:
    """Before training a conversion changes no logit; afterwards the share of equal next tokens says how far it went."""
    name = "the causal model is still its parent"
    if parent is None:
        return Check(name, None, "no parent was given")
    other = type(model).from_pretrained(parent, dtype=torch.float32, attn_implementation="sdpa").eval()
    model.set_attn_implementation("sdpa")
    far, same, count = 0.0, 0, 0
    for sample, pictures in zip(answered, given, strict=True):
        more = {} if not pictures else pictures | {"mm_token_type_ids": sample.vision.int()[None]}  # type: ignore[union-attr]
        with torch.no_grad():
            a, b = (m(input_ids=sample.ids[None], **more).logits[0][sample.answer.roll(-1)] for m in (model, other))
        size = min(a.shape[-1], b.shape[-1])  # a mask token may have been added
        far = max(far, float((a[:, :size] - b[:, :size]).abs().max()))
        same, count = same + int((a[:, :size].argmax(-1) == b[:, :size].argmax(-1)).sum()), count + len(a)
    return Check(
        name, same >= 0.5 * count, f"{100 * same / count:.1f} % of next tokens are the same, logits differ by at most {far:.2g}"
    )


def _rows(spec: BlockSpec, sample: Sample) -> Rows:
    """As the checkpoint was trained: blocks from the answer or from the beginning, clean rows causal or in blocks."""
    absolute = torch.arange(len(sample)) // spec.block_size
    block = absolute if spec.grid_origin == "absolute" else answer_blocks(sample.answer, spec.block_size)
    return doubled(block, "causal" if spec.prompt == "causal" else "block")


def _view(spec: BlockSpec, sample: Sample, seed: int, shift: int, mask: int | None = None) -> tuple[View, Tensor]:
    rng = np.random.default_rng(seed)
    assert sample.frozen is not None
    hidden = draw(np.full(len(sample), SHARE), sample.answer & ~sample.frozen, rng)
    hidden[sample.answer.nonzero()[0]] = False  # the first token is never a draft of its own
    first = "noisy" if spec.grid_origin == "absolute" else "clean"
    view, _ = asked(_rows(spec, sample), sample, hidden, spec.mask_token_id if mask is None else mask, shift, first)
    return view, hidden


def _mean(model: Any, views: Sequence[View], sights: Sequence[Sight | None]) -> float:
    with torch.no_grad():
        each = [losses(model, [v], None if s is None else [s])[0] for v, s in zip(views, sights, strict=True)]
    found = torch.cat(each)
    return float(found.mean()) if len(found) else float("nan")


def _leak(model: Any, spec: BlockSpec, answered: Sequence[Sample], sights: Sequence[Sight | None]) -> Check:
    """Other tokens under the masks: no prediction of a masked token may change. Clean rows after it do, and are not looked at."""
    far = 0.0
    for n, (sample, sight) in enumerate(zip(answered, sights, strict=True)):
        view, hidden = _view(spec, sample, n, spec.draft_shift)
        last = hidden.nonzero().flatten()[-1:] if bool(hidden.any()) else hidden.nonzero().flatten()
        other = replace(sample, ids=sample.ids.clone())
        other.ids[last] = (other.ids[last] + 1) % spec.mask_token_id
        changed, _ = _view(spec, other, n, spec.draft_shift)
        changed = replace(changed, label=view.label)
        with torch.no_grad():
            a, b = (losses(model, [v], None if sight is None else [sight])[0] for v in (view, changed))
        own = _rows(spec, sample).noisy[last]
        if len(a):
            block = view.branch[own[0]]
            inside = view.branch[view.at] == block
            far = max(far, float((a - b)[inside].abs().max()) if bool(inside.any()) else 0.0)
    return Check("no masked token shows through", far < 1e-5, f"predictions change by {far:.1g} when what is masked does")


def _conventions(model: Any, spec: BlockSpec, answered: Sequence[Sample], sights: Sequence[Sight | None]) -> Iterator[Check]:
    views = [_view(spec, s, n, spec.draft_shift)[0] for n, s in enumerate(answered)]
    right = _mean(model, views, sights)
    wrong = _mean(model, [_view(spec, s, n, 1 - spec.draft_shift)[0] for n, s in enumerate(answered)], sights)
    said = f"masked tokens cost {right:.2f} with shift {spec.draft_shift} and {wrong:.2f} with {1 - spec.draft_shift}"
    yield Check("the label shift is right", wrong > FAR * right, said)
    plain = int(answered[0].ids[answered[0].answer][0])  # an ordinary token: what a mask is not
    other = _mean(model, [_view(spec, s, n, spec.draft_shift, plain)[0] for n, s in enumerate(answered)], sights)
    said = f"masked tokens cost {right:.2f} under token {spec.mask_token_id} and {other:.2f} under {plain}, a token of the answer"
    yield Check("the mask token is right", other > FAR * right, said)


def _overfit(model: Any, spec: BlockSpec, answered: Sequence[Sample], sights: Sequence[Sight | None]) -> Check:
    """Learns one batch by heart, which a broken loss or mask does not."""
    views = []
    for n, s in enumerate(answered):
        view, _ = _view(spec, s, n, spec.draft_shift)
        if spec.causal_mode:
            at, which = next_tokens(_rows(spec, s), s)
            view = extended(view, at, s.ids[which], 1.0)
        views.append(replace(view, weight=view.weight / max(len(view.at), 1)))
    frozen = [None if s is None else replace(s, features=s.features.detach()) for s in sights]
    model.requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0)
    seen = []
    for _ in range(STEPS):
        each = [losses(model, [v], None if s is None else [s])[0] for v, s in zip(views, frozen, strict=True)]
        loss = total(each, views)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    return Check("one batch is learnt by heart", seen[-1] < FALL * seen[0], f"its loss falls from {seen[0]:.3f} to {seen[-1]:.3f}")
