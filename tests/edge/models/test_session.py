"""What the session does around a forward: wants, masks, forbidden ids, images, limits, reuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edge.core.errors import CheckpointError, InputError
from edge.core.types import GUESS, LINEAGE, TRUNK, After, At, Call, Want
from edge.models.backbone import ImageFeatures
from edge.models.loading import load_model
from edge.models.session import Session
from edge.models.tape import ExactnessError
from tests.edge.models import tiny


def call(
    tokens: list[int],
    *,
    order: list[int] | None = None,
    branch: list[int] | None = None,
    position: list[int] | None = None,
    masked: list[bool] | None = None,
    want: tuple[Want, ...] = (),
) -> Call:
    n = len(tokens)
    at = position or list(range(n))
    return Call(
        torch.tensor(tokens),
        torch.tensor(masked or [False] * n),
        torch.tensor(order or at),
        torch.tensor(branch or [TRUNK] * n),
        torch.tensor(at),
        want,
    )


@pytest.fixture
def session(backbone: Callable[..., Any]) -> Session:
    return Session(backbone("qwen2"), tiny.tokens(4), capacity=20, check=True)


@pytest.fixture
def shiftless(checkpoint: Callable[..., Any], tmp_path: Path) -> Session:
    folder = tiny.save(tiny.build("qwen2"), tmp_path, draft_shift=0)
    return Session(load_model(folder, device="cpu"), tiny.tokens(4), capacity=20, check=True)


# ---- wants -----------------------------------------------------------------------------------------------------------------


def test_at_is_the_row_before_with_shift_1(session: Session) -> None:
    rows = call(tiny.tokens(4), want=(At(1), After(0), At(3), After(2), After(3)))
    logits = session.forward(rows).logits
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[2], logits[3])
    assert logits.shape == (5, tiny.VOCAB)


def test_at_is_the_row_itself_with_shift_0(shiftless: Session) -> None:
    logits = shiftless.forward(call(tiny.tokens(4), want=(At(1), After(1), At(0)))).logits
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_at_looks_up_its_own_line_of_branches(session: Session) -> None:
    """Trunk rows 4 5, a guess from 5 on and a sibling's guess from 6 on: the nearest row at the position before counts."""
    session.forward(call(tiny.tokens(4)))
    session.keep(torch.arange(4))
    sibling = GUESS + 1
    rows = call(
        [10, 11, 12, 13, 14, 15],
        position=[4, 5, 5, 6, 6, 7],
        order=[4, 5, 5, 5, 6, 6],
        branch=[TRUNK, TRUNK, GUESS, GUESS, sibling, sibling],
        want=(At(2), At(3), At(4), At(5), *(After(i) for i in range(5))),
    )
    logits = session.forward(rows).logits
    at, after = logits[:4], logits[4:]
    for got, wanted in zip(at, (after[0], after[2], after[1], after[4]), strict=True):
        assert torch.equal(got, wanted)


def test_at_in_a_lineage_finds_the_row_on_its_own_trunk(session: Session) -> None:
    """Lineages are opened as a call has them: a guess of lineage 2 whose first row is predicted by the trunk of lineage 2."""
    session.forward(call(tiny.tokens(4)))
    session.keep(torch.arange(4))
    one, two = LINEAGE, 2 * LINEAGE
    rows = call(
        [10, 11, 12, 13, 14],
        position=[4, 4, 5, 5, 6],
        order=[4, 4, 4, 4, 4],
        branch=[one, two, one + GUESS, two + GUESS, two + GUESS],
        want=(At(3), At(4), *(After(i) for i in range(5))),
    )
    logits = session.forward(rows).logits
    assert torch.equal(logits[0], logits[2 + 1])
    assert torch.equal(logits[1], logits[2 + 3])
    assert session.tape.line(session.branches[two + GUESS])[1:] == [session.branches[two], TRUNK]


@pytest.mark.parametrize(
    "rows",
    [
        call([5, 6], want=(At(0),)),
        call([5, 6], position=[4, 6], want=(At(1),)),
        call([5, 6], branch=[GUESS, TRUNK], want=(At(1),)),
        call([5, 6, 9, 7], position=[4, 4, 9, 5], order=[4, 4, 4, 4], want=(At(3),)),
    ],
    ids=["first-row", "gap", "not-in-line", "two-candidates"],
)
def test_at_without_its_predecessor_is_an_internal_error(session: Session, rows: Call) -> None:
    with pytest.raises(RuntimeError, match=r"internal error: row .* is wanted `At` with label shift 1"):
        session.forward(rows)


def test_no_wants_no_head(session: Session) -> None:
    assert session.forward(call(tiny.tokens(4))).logits.shape == (0, tiny.VOCAB)


# ---- masks and forbidden ids -----------------------------------------------------------------------------------------------


def test_masked_rows_ignore_their_token(session: Session) -> None:
    want = tuple(After(i) for i in range(3))
    masked = [False, True, False]
    a, b, literal, other = (
        session.forward(call([5, x, 6], masked=m, want=want)).logits
        for x, m in ((7, masked), (8, masked), (tiny.MASK, None), (8, None))
    )
    assert torch.equal(a, b)
    assert torch.equal(a, literal)  # the mask id as text: embedded as it is, though nothing is masked
    assert not torch.equal(a, other)


def test_mask_id_and_unused_ids_are_never_predicted(session: Session) -> None:
    logits = session.forward(call(tiny.tokens(4), want=(After(3),))).logits[0]
    assert logits[tiny.MASK] == float("-inf")
    assert bool((logits[tiny.LIMIT :] == float("-inf")).all())
    assert bool(logits[: tiny.MASK].isfinite().all())
    assert bool(logits[tiny.MASK + 1 : tiny.LIMIT].isfinite().all())


def test_logits_may_be_changed_by_the_receiver(session: Session) -> None:
    logits = session.forward(call(tiny.tokens(4), want=(After(3),))).logits
    logits[0, 5] = 0.0
    assert not logits.is_inference()


def test_a_masked_row_cannot_be_kept(session: Session, shiftless: Session) -> None:
    session.forward(call([5, 6], masked=[False, True]))
    with pytest.raises(ExactnessError, match="a kept row must hold its final token"):
        session.keep(torch.tensor([0, 1]))


def test_commit_none_keeps_its_last_denoising_pass(tmp_path: Path) -> None:
    model = load_model(tiny.save(tiny.build("qwen2"), tmp_path, commit="none"), device="cpu")
    session = Session(model, [5], capacity=9, check=True)
    session.forward(call([5, 6], order=[0, 0], masked=[False, True]))
    session.keep(torch.tensor([0, 1]))
    assert len(session.tape) == 2


# ---- images ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["rope", "flat1d"])
def test_flat_position_modes_ignore_image_grids(mode: str, tmp_path: Path) -> None:
    flat = load_model(tiny.save(tiny.build("qwen2_5_vl"), tmp_path, position_mode=mode), device="cpu")
    features = flat.encode_images(tiny.pictures(1))
    ids = tiny.prompt_with_images(features.counts)
    whole = call(ids.tolist(), want=(After(len(ids) - 1),))
    got = Session(flat, ids, features, capacity=len(ids)).forward(whole).logits
    without = ImageFeatures(features.features, features.counts)  # no grids: nothing to derive M-RoPE from
    assert torch.equal(got, Session(flat, ids, without, capacity=len(ids)).forward(whole).logits)


def test_images_and_placeholders_must_match(backbone: Callable[..., Any]) -> None:
    model = backbone("qwen2_5_vl")
    features = model.encode_images(tiny.pictures(1))
    ids = tiny.prompt_with_images((features.counts[0] + 1,))
    with pytest.raises(InputError, match=r"has 7 image placeholder ids and its 1 images take 6: repeat the placeholder"):
        Session(model, ids, features, capacity=60)


def test_the_answer_may_hold_a_placeholder_id(backbone: Callable[..., Any]) -> None:
    """Image rows are known by their place in the prompt, never by a token id."""
    model = backbone("qwen2_5_vl")
    features = model.encode_images(tiny.pictures(1))
    ids = tiny.prompt_with_images(features.counts)
    n = len(ids)
    session = Session(model, ids, features, capacity=n + 4, check=True)
    session.forward(call(ids.tolist()))
    session.keep(torch.arange(n))
    got = session.forward(call([tiny.IMAGE], position=[n], want=(After(0),))).logits
    assert bool(got[0, : tiny.MASK].isfinite().all())


# ---- limits, counts, reuse -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "capacity", "why"),
    [
        (5, 4, "the prompt has 5 tokens: at least 1 is needed and this session holds 4"),
        (0, 4, "the prompt has 0 tokens"),
        (5, 513, "a prompt of 5 tokens and an answer of up to 508 make 513, and the model holds 512; shorten the prompt"),
    ],
)
def test_what_does_not_fit_is_refused(backbone: Callable[..., Any], prompt: int, capacity: int, why: str) -> None:
    with pytest.raises(InputError, match=why):
        Session(backbone("qwen2"), tiny.tokens(prompt), capacity=capacity)


def test_forwards_and_rows_are_counted(session: Session) -> None:
    for n in (4, 1, 3):
        session.forward(call(tiny.tokens(n)))
    assert (session.forwards, session.rows) == (3, 8)


def test_reset_is_a_fresh_session(backbone: Callable[..., Any]) -> None:
    model = backbone("qwen2_5_vl")
    features = model.encode_images(tiny.pictures(3))
    ids = tiny.prompt_with_images(features.counts)
    whole = call(ids.tolist(), want=(After(len(ids) - 1),))
    used = Session(model, tiny.tokens(4), capacity=8, scratch=16, check=True)
    used.forward(call(tiny.tokens(4)))
    used.keep(torch.arange(4))
    used.tape.fork()
    for _ in range(2):  # once with larger buffers than before, once with the same
        used.reset(ids, features, capacity=len(ids) + 5)
        assert (used.forwards, used.rows, len(used.tape)) == (0, 0, 0)
        fresh = Session(model, ids, features, capacity=len(ids) + 5)
        assert torch.equal(used.forward(whole).logits, fresh.forward(whole).logits)
        used.keep(torch.arange(len(ids)))


def test_nan_is_one_line(backbone: Callable[..., Any]) -> None:
    model = backbone("qwen2_5_vl")
    features = model.encode_images(tiny.pictures(1))
    broken = ImageFeatures(features.features * float("nan"), features.counts, features.grids)
    ids = tiny.prompt_with_images(features.counts)
    with pytest.raises(CheckpointError, match="logits hold NaN"):
        Session(model, ids, broken, capacity=60).forward(call(ids.tolist(), want=(After(len(ids) - 1),)))
