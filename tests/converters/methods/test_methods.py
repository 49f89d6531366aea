"""Every method against its paper, written down again without any of the fast side: who sees whom, what is hidden, what it costs.

The same random numbers go in; the loss and its gradient have to come out the same to the last digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from converters.methods.diffusion_vl import DiffusionVL
from converters.methods.fast_ddrive import NOISE, WEIGHTS, FastDdrive
from converters.methods.fast_dllm_v2 import FastDllmV2
from converters.methods.fast_dvlm import FastDvlm
from converters.methods.lavida import LaViDa, hole
from converters.methods.sdar import Sdar, SdarVL
from converters.methods.tidar import TiDAR
from converters.methods.views import Sample
from converters.methods.wedlm import WeDLM
from edge.core.errors import InputError
from tests.converters.methods.toy import MASK, STOP, Row, Toy, samples

EPS = 1e-3
CASES = 12


def pad(sample: Sample, token: int, size: int, told: bool) -> tuple[list[int], list[bool]]:
    ids, answer = sample.ids.tolist(), sample.answer.tolist()
    while len(ids) % size:
        ids, answer = [*ids, token], [*answer, told]
    return ids, answer


def turns(answer: list[bool], size: int) -> list[int]:
    """Number of each token's turn: prompts, and blocks of answers counted from where the answer begins."""
    out, number, i = [], -1, 0
    while i < len(answer):
        end = i
        while end < len(answer) and answer[end] == answer[i]:
            end += 1
        for k, _ in enumerate(range(i, end)):
            if k == 0 or (answer[i] and k % size == 0):
                number += 1
            out.append(number)
        i = end
    return out


def both(length: int) -> list[Row]:
    return [(kind, i) for kind in ("clean", "noisy") for i in range(length)]


def by_pages(block: list[int], clean: Callable[[int, int], bool]) -> Callable[[Row, Row], bool]:
    """The three masks of block diffusion: noisy to noisy within a block, noisy to clean of earlier ones, clean to clean as told."""

    def sees(q: Row, k: Row) -> bool:
        if q[0] == "noisy":
            return block[q[1]] == block[k[1]] if k[0] == "noisy" else block[q[1]] > block[k[1]]
        return k[0] == "clean" and clean(q[1], k[1])

    return sees


def shown(ids: list[int], hidden: set[int]) -> Callable[[Row], int]:
    return lambda row: MASK if row[0] == "noisy" and row[1] in hidden else ids[row[1]]


# --- by the papers ---------------------------------------------------------------------------------------------------------------


def fast_dllm_v2(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
    terms = []
    for sample in given:
        ids, answer = pad(sample, MASK, 4, False)
        block = [i // 4 for i in range(len(ids))]
        t, u = rng.random(block[-1] + 1), rng.random(len(ids))
        first = {i for i in range(len(ids)) if answer[i] and u[i] < (1 - EPS) * t[block[i]] + EPS}
        second = {i for i in range(len(ids)) if answer[i]} - first
        sees = by_pages(block, lambda q, k, b=block: b[q] >= b[k])
        for hidden in (first, second):
            terms += [toy.by_hand(("noisy", i - 1), both(len(ids)), shown(ids, hidden), sees, ids[i]) for i in sorted(hidden)]
    return sum(terms) / len(terms)


def fast_dvlm(size: int, *, causal: bool = True) -> Callable[..., torch.Tensor]:
    def slow(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
        noisy, clean = [], []
        for sample in given:
            ids, answer = sample.ids.tolist(), sample.answer.tolist()
            turn = turns(answer, size)
            t, u = rng.random(turn[-1] + 1), rng.random(len(ids))
            told = [i for i in range(len(ids)) if answer[i]]
            stops = {i for i in told if ids[i] == STOP}
            first = {i for i in told if u[i] < (1 - EPS) * t[turn[i]] + EPS}
            sees = by_pages(turn, (lambda q, k: q >= k) if causal else (lambda q, k, b=turn: b[q] >= b[k]))
            for hidden in (first | stops, (set(told) - first) | stops):
                for i in sorted(hidden):
                    row = ("noisy" if answer[i - 1] else "clean", i - 1)
                    noisy.append(toy.by_hand(row, both(len(ids)), shown(ids, hidden), sees, ids[i]))
            clean += [toy.by_hand(("clean", i - 1), both(len(ids)), shown(ids, set()), sees, ids[i]) for i in told]
        if not causal:
            return sum(noisy) / len(noisy)
        return 0.5 * sum(noisy) / len(noisy) + 0.5 * sum(clean) / len(clean)

    return slow


def fast_ddrive(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
    terms, items = [], 2 * sum(int(s.answer.sum()) for s in given)
    for sample in given:
        ids, answer = sample.ids.tolist(), sample.answer.tolist()
        frozen, section = sample.frozen.tolist(), sample.section.tolist()
        free = [i for i in range(len(ids)) if answer[i] and not frozen[i]]
        block, of = {}, [-1]
        for name in dict.fromkeys(s for i, s in enumerate(section) if answer[i]):
            own = [i for i in free if section[i] == name]
            first = len(of)
            for n, i in enumerate(own):
                block[i] = first + n // 3
            of += [name] * max(1, math.ceil(len(own) / 3))
            for i in range(len(ids)):
                if answer[i] and frozen[i] and section[i] == name:
                    after, before = [j for j in own if j > i], [j for j in own if j < i]
                    block[i] = block[after[0]] if after else block[before[-1]] if before else first
        turn = [block.get(i, 0) for i in range(len(ids))]
        a, b = zip(*(NOISE.get(s, (1.0, 1.0)) for s in of), strict=True)
        t, u = rng.beta(np.array(a), np.array(b)), rng.random(len(ids))
        stops = {i for i in free if ids[i] == STOP}
        first_row = {i for i in free if u[i] < (1 - EPS) * t[turn[i]] + EPS}
        sees = by_pages(turn, lambda q, k: q >= k)
        for hidden in (first_row | stops, (set(free) - first_row) | stops):
            for i in sorted(hidden):
                row = ("noisy" if answer[i - 1] else "clean", i - 1)
                ce = toy.by_hand(row, both(len(ids)), shown(ids, hidden), sees, ids[i])
                terms.append(WEIGHTS.get(section[i], 1.0) * ce / items)
        for i in range(len(ids)):
            if answer[i]:
                terms.append(toy.by_hand(("clean", i - 1), both(len(ids)), shown(ids, set()), sees, ids[i]) / items)
    return sum(terms)


def diffusion_vl(shuffle: bool) -> Callable[..., torch.Tensor]:
    def slow(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
        padded = [pad(s, STOP, 4, True) for s in given]
        counts = [len(ids) // 4 for ids, _ in padded]
        n = sum(counts)
        levels = [(x / n + i / n) % 1 for i, x in enumerate(rng.random(n))]
        levels = list(rng.permutation(levels)) if shuffle else levels
        terms = []
        for ids, answer in padded:
            t = [levels.pop(0) * (1 - 1e-3) + 1e-3 for _ in range(len(ids) // 4)]
            u = rng.random(len(ids))
            block = [i // 4 for i in range(len(ids))]
            hidden = {i for i in range(len(ids)) if answer[i] and u[i] < t[block[i]]}
            sees = by_pages(block, lambda q, k, b=block: b[q] >= b[k])
            for i in hidden:
                ce = toy.by_hand(("noisy", i), both(len(ids)), shown(ids, hidden), sees, ids[i])
                terms.append(ce / t[block[i]] / sum(answer) / len(given))
        return sum(terms)

    return slow


def lavida(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
    terms = []
    for sample in given:
        ids, answer = sample.ids.tolist(), sample.answer.tolist()
        p = (1 - EPS) * rng.random() + EPS
        u = rng.random(len(ids))
        bar = max(p, min(u))
        first = {i for i in range(len(ids)) if answer[i] and u[i] <= bar}
        for hidden in (first, {i for i in range(len(ids)) if answer[i]} - first):
            rows = [("noisy", i) for i in range(len(ids))]
            terms += [toy.by_hand(("noisy", i), rows, shown(ids, hidden), lambda q, k: True, ids[i]) for i in sorted(hidden)]
    return sum(terms) / len(terms)


def sdar(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
    terms = []
    for sample in given:
        ids, answer = sample.ids.tolist(), sample.answer.tolist()
        p = (1 - EPS) * rng.random() + EPS
        u = rng.random(len(ids))
        block = [i // 4 for i in range(len(ids))]
        hidden = {i for i in range(len(ids)) if answer[i] and u[i] < p}
        sees = by_pages(block, lambda q, k, b=block: b[q] >= b[k])
        terms += [toy.by_hand(("noisy", i), both(len(ids)), shown(ids, hidden), sees, ids[i]) / p for i in hidden]
    return sum(terms) / sum(int(s.answer.sum()) for s in given)


def sdar_vl(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
    terms, c = [], 2 + 48 * 0.25
    for sample in given:
        ids, answer = sample.ids.tolist(), sample.answer.tolist()
        block = [i // 4 for i in range(len(ids))]
        t, u = rng.beta(0.8 * c, 0.2 * c, block[-1] + 1), rng.random(len(ids))
        hidden = {i for i in range(len(ids)) if answer[i] and u[i] < t[block[i]]}
        sees = by_pages(block, lambda q, k, b=block: b[q] >= b[k])
        for i in hidden:
            own = [j for j in range(len(ids)) if answer[j] and block[j] == block[i]]
            ratio = len([j for j in own if j in hidden]) / len(own)
            terms.append(toy.by_hand(("noisy", i), both(len(ids)), shown(ids, hidden), sees, ids[i]) / ratio)
    return sum(terms) / sum(int(s.answer.sum()) for s in given)


def wedlm(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
    terms, weights, clean = [], [], []
    for sample in given:
        ids, answer = sample.ids.tolist(), sample.answer.tolist()
        turn = turns(answer, 4)
        g = rng.random(turn[-1] + 1)
        hidden: set[int] = set()
        for k in range(turn[-1] + 1):
            own = [i for i in range(len(ids)) if answer[i] and turn[i] == k]
            hidden |= set(rng.permutation(np.array(own, dtype=int))[: round(len(own) * g[k])].tolist())
        standing = sorted(range(len(ids)), key=lambda i: (turn[i], i in hidden, i))
        place = {i: n for n, i in enumerate(standing)}

        def sees(q: Row, k: Row, turn=turn, place=place) -> bool:
            if q[0] == "clean":
                return k[0] == "clean" and k[1] <= q[1]
            if k[0] == "clean":
                return turn[k[1]] < turn[q[1]]
            return turn[k[1]] == turn[q[1]] and place[k[1]] <= place[q[1]]

        for i in hidden:
            terms.append(toy.by_hand(("noisy", i), both(len(ids)), shown(ids, hidden), sees, ids[i]) / g[turn[i]])
            weights.append(1 / g[turn[i]])
        told = [i for i in range(len(ids)) if answer[i]]
        clean += [toy.by_hand(("clean", i - 1), both(len(ids)), shown(ids, set()), sees, ids[i]) for i in told]
    return (sum(terms) / sum(weights) if terms else 0) + sum(clean) / len(clean)


def tidar(shift: int) -> Callable[..., torch.Tensor]:
    def slow(toy: Toy, given: list[Sample], rng: np.random.Generator) -> torch.Tensor:
        drafts, clean = [], []
        for sample in given:
            ids, answer = sample.ids.tolist(), sample.answer.tolist()
            turn = turns(answer, 4)
            told = [i for i in range(len(ids)) if answer[i]]
            rows = [("clean", i) for i in range(len(ids))] + [("noisy", i) for i in told]
            sees = by_pages(turn, lambda q, k: q >= k)
            for i in told:
                row = ("noisy", i) if shift == 0 else ("noisy" if answer[i - 1] else "clean", i - 1)
                drafts.append(toy.by_hand(row, rows, shown(ids, set(told)), sees, ids[i]))
                clean.append(toy.by_hand(("clean", i - 1), rows, shown(ids, set()), sees, ids[i]))
        return sum(drafts) / len(drafts) + sum(clean) / len(clean)

    return slow


METHODS = {
    "fast_dllm_v2": (FastDllmV2(mask_token_id=MASK, block_size=4), fast_dllm_v2, 1.0),
    "fast_dvlm": (FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=8), fast_dvlm(8), 1.0),
    "fast_dvlm annealed": (FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=16), fast_dvlm(4), 0.1),
    "fast_dvlm pictures twice": (
        FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=8, vision_efficient=False),
        fast_dvlm(8),
        1.0,
    ),
    "fast_dvlm block context": (
        FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=8, causal_context=False, noisy_weight=1, clean_weight=0),
        fast_dvlm(8, causal=False),
        1.0,
    ),
    "fast_ddrive": (FastDdrive(mask_token_id=MASK, stop_id=STOP, block_size=3), fast_ddrive, 1.0),
    "diffusion_vl": (DiffusionVL(mask_token_id=MASK, stop_id=STOP, block_size=4), diffusion_vl(True), 1.0),
    "diffusion_vl parity": (
        DiffusionVL(mask_token_id=MASK, stop_id=STOP, block_size=4, shuffle_strata=False),
        diffusion_vl(False),
        1.0,
    ),
    "lavida": (LaViDa(mask_token_id=MASK), lavida, 1.0),
    "sdar": (Sdar(mask_token_id=MASK), sdar, 1.0),
    "sdar_vl": (SdarVL(mask_token_id=MASK), sdar_vl, 0.25),
    "wedlm": (WeDLM(mask_token_id=MASK, block_size=4), wedlm, 1.0),
    "tidar": (TiDAR(mask_token_id=MASK, block_size=4), tidar(0), 1.0),
    "tidar shifted": (TiDAR(mask_token_id=MASK, block_size=4, shift=1), tidar(1), 1.0),
}


@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradient_are_those_of_the_paper(name: str) -> None:
    method, slow, progress = METHODS[name]
    for seed in range(CASES):
        toy, given = Toy(seed), samples(seed, scaffold=name == "fast_ddrive")
        fast = toy.loss(method.views(given, np.random.default_rng(seed), progress))
        wanted = slow(toy, given, np.random.default_rng(seed))
        assert fast.item() == pytest.approx(float(wanted), rel=1e-11)
        for a, b in zip(torch.autograd.grad(fast, toy.weights), torch.autograd.grad(wanted, toy.weights), strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


# --- properties ------------------------------------------------------------------------------------------------------------------


def test_pictures_need_no_noisy_rows() -> None:
    """The vision-efficient layout: loss and gradient are those of the full one, exactly, with fewer rows."""
    full = FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=4, vision_efficient=False)
    lean = full.model_copy(update={"vision_efficient": True})
    fewer = 0
    for seed in range(CASES):
        toy, given = Toy(seed), samples(seed, 3)
        views = [m.views(given, np.random.default_rng(seed)) for m in (full, lean)]
        fewer += sum(len(a.tokens) - len(b.tokens) for a, b in zip(*views, strict=True))
        losses = [toy.loss(v) for v in views]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-13)
        grads = [torch.autograd.grad(loss, toy.weights) for loss in losses]
        for a, b in zip(*grads, strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)
    assert fewer > 0


@pytest.mark.parametrize("name", METHODS)
def test_no_row_that_is_asked_sees_what_it_is_asked(name: str) -> None:
    """With tokens that are all different: none of the rows that the asked row sees shows the token that it is to say."""
    method, _, progress = METHODS[name]
    asked = 0
    for seed in range(CASES):
        (sample,) = samples(seed, 1, scaffold=name == "fast_ddrive")
        sample = replace(sample, ids=torch.randperm(len(sample), generator=torch.Generator().manual_seed(seed)) + STOP + 1)
        for view in method.views([sample], np.random.default_rng(seed), progress):
            seen = view.seen()
            for at, label in zip(view.at.tolist(), view.label.tolist(), strict=True):
                if label != STOP:  # what DiffusionVL pads with stands there more than once
                    assert not bool((view.tokens[seen[at]] == label).any())
                    asked += 1
    assert asked > 50


@pytest.mark.parametrize("size", [1, 3, 8])
def test_complementary_rows_ask_every_token_once_and_stops_twice(size: int) -> None:
    for seed in range(CASES):
        for sample in samples(seed, 3):
            method = FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=size, clean_weight=0, anneal=False)
            views = method.views([sample], np.random.default_rng(seed))
            told = sorted(int(v) for view in views for v in view.label)
            stops = int((sample.answer & (sample.ids == STOP)).sum())
            assert told == sorted([*sample.ids[sample.answer].tolist(), *[STOP] * stops])


def test_strata_have_a_level_each_and_only_the_release_has_them_rising() -> None:
    from converters.methods.noise import strata

    for seed in range(20):
        t = strata(16, np.random.default_rng(seed))
        assert sorted((t * 16).astype(int).tolist()) == list(range(16))
        plain = strata(16, np.random.default_rng(seed), shuffle=False)
        assert (np.diff(plain) > 0).all()
    assert any((np.diff(strata(16, np.random.default_rng(s))) < 0).any() for s in range(3))


def test_annealing_really_runs() -> None:
    sample = samples(3, 1)[0]
    method = FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=32)
    blocks = []
    for progress in (0.0, 0.06, 0.07, 0.24, 0.26, 0.56, 0.57, 1.0):
        view = method.views([sample], np.random.default_rng(0), progress)[0]
        blocks.append(len(view.branch.unique()))
    assert blocks == sorted(blocks, reverse=True)
    assert len(set(blocks)) > 1


def test_a_hole_is_never_asked() -> None:
    for seed in range(CASES):
        (sample,) = samples(seed, 1)
        rng = np.random.default_rng(seed)
        empty = hole(sample.answer, 0.4, rng)
        assert int(empty.sum()) == round(int(sample.answer.sum()) * 0.4)
        frozen = Sample(sample.ids, sample.answer, sample.vision, empty)
        for view in LaViDa(mask_token_id=MASK).views([frozen], rng):
            asked = view.source[view.at]
            assert not bool(empty[asked].any())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="begin with a prompt"):
        Sample(torch.tensor([1, 2]), torch.tensor([True, True]))
    with pytest.raises(InputError, match="one entry a token"):
        Sample(torch.tensor([1, 2]), torch.tensor([False]))
    with pytest.raises(InputError, match="would see what they are asked"):
        FastDvlm(mask_token_id=MASK, stop_id=STOP, causal_context=False).views(samples(0), np.random.default_rng(0))
    with pytest.raises(InputError, match="inverse"):
        LaViDa(mask_token_id=MASK, inverse=True).views(samples(0), np.random.default_rng(0))
    with pytest.raises(InputError, match="scaffold"):
        FastDdrive(mask_token_id=MASK, stop_id=STOP).views(samples(0), np.random.default_rng(0))
