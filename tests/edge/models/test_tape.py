"""The tape against a slow twin that has no cache: random programs of calls, keeps, forks and adoptions give the same logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edge.core.errors import InputError
from edge.core.types import GUESS, TRUNK, After, Call
from edge.core.visibility import DEAD_ORDER, additive
from edge.models.session import Session
from edge.models.tape import ExactnessError, Tape, checking
from tests.edge.models import tiny


def tape(capacity: int = 12, check: bool | None = True) -> Tape:
    return Tape(1, 1, 2, capacity, check=check)


def begin(t: Tape, order: list[int], branch: list[int] | int = TRUNK) -> None:
    branches = [branch] * len(order) if isinstance(branch, int) else branch
    t.begin(torch.tensor(order), torch.tensor(branches), torch.arange(len(order)))


def keep(t: Tape, *rows: int) -> None:
    t.keep(torch.tensor(rows, dtype=torch.long))


def say(t: Tape, order: list[int], branch: int = TRUNK) -> None:
    """Rows that are computed and all kept."""
    begin(t, order, branch)
    keep(t, *range(len(order)))


def shown(t: Tape) -> list[list[bool]]:
    mask = t.mask()
    assert mask is not None
    return mask.tolist()


def brute(t: Tape, kept: list[tuple[int, int, int]], call: list[tuple[int, int, int]], window: int | None = None) -> Tensor:
    """The mask of a call by the rule, pair by pair, for (order, branch, position) of contiguous rows: bool [R, n]."""
    return torch.tensor(
        [[k[0] <= q[0] and k[1] in t.line(q[1]) and (window is None or q[2] - k[2] < window) for k in kept + call] for q in call]
    )


# ---- rows ------------------------------------------------------------------------------------------------------------------


def test_buffers_are_zeroed() -> None:
    t = Tape(3, 2, 4, 50, dtype=torch.bfloat16)
    assert t.store.shape == (3, 4, 50, 4)
    assert not bool(t.store.any())


def test_unkept_rows_vanish() -> None:
    t = tape()
    say(t, [0, 1, 2])
    begin(t, [3, 4])
    begin(t, [3, 3, 3], GUESS)
    keep(t)
    assert len(t) == 3
    begin(t, [3])
    assert t.mask() is None
    assert t.keys[0].shape == (1, 1, 4, 2)


def test_plain_decoding_stays_contiguous_and_writes_where_it_reads() -> None:
    t = tape()
    for order, kept in (([0, 1, 2], 2), ([2, 3, 4], 1), ([3, 3], 0), ([3], 1)):
        begin(t, order)
        kv = torch.randn(len(order), 2, 2)
        t.write(0, kv)
        assert t.into is not None
        assert torch.equal(t.keys[0][0, 0, -len(order) :], kv[:, 0])
        assert torch.equal(t.values[0][0, 0, -len(order) :], kv[:, 1])
        keep(t, *range(kept))
    assert t.kept()[0].tolist() == [0, 1, 2, 3]


def test_holes_are_filled_lowest_first_and_hidden_while_empty() -> None:
    t = tape(check=False)
    begin(t, [0, 1, 2, 3, 4])
    keep(t, 0, 2, 4)
    begin(t, [5])
    assert shown(t) == [[True, True, True, False, True]]
    begin(t, [5, 5, 5])
    kv = torch.randn(3, 2, 2)
    t.write(0, kv)
    assert t.into is None
    assert torch.equal(t.keys[0][0, 0, [1, 3, 5]], kv[:, 0])
    keep(t, 0, 1, 2)
    assert len(t) == 6
    begin(t, [6])
    assert t.mask() is None


@pytest.mark.parametrize(
    ("order", "branch", "hidden"),
    [
        ([3], TRUNK, False),
        ([3, 3, 3], GUESS, False),
        ([3, 4], TRUNK, True),
        ([1], TRUNK, True),
        ([3, 3], [TRUNK, GUESS], True),
    ],
    ids=["one-row", "block", "causal", "earlier", "two-branches"],
)
def test_mask(order: list[int], branch: int | list[int], hidden: bool) -> None:
    t = tape()
    say(t, [0, 1, 2])
    begin(t, order, branch)
    branches = [branch] * len(order) if isinstance(branch, int) else branch
    kept, call = [(i, TRUNK, i) for i in range(3)], list(zip(order, branches, range(len(order)), strict=True))
    mask, wanted = t.mask(), brute(t, kept, call)
    assert (mask is not None) == hidden
    assert torch.equal(torch.ones_like(wanted) if mask is None else mask, wanted)
    near = t.mask(window=1)
    assert near is not None
    assert torch.equal(near, brute(t, kept, call, window=1))


def test_full_tape_says_what_to_do() -> None:
    t = tape(capacity=4)
    say(t, [0, 1, 2])
    with pytest.raises(InputError, match="cache of 4 rows is full: 3 are kept and 2 more"):
        begin(t, [3, 4])
    begin(t, [3])


@pytest.mark.parametrize("rows", [(1, 0), (0, 0), (-1,), (2,)])
def test_rows_to_keep_are_ascending_indices(rows: tuple[int, ...]) -> None:
    t = tape()
    begin(t, [0, 0])
    with pytest.raises(ValueError, match="ascending indices into the last call of 2 rows"):
        keep(t, *rows)


def test_rows_are_kept_once() -> None:
    t = tape()
    say(t, [0])
    with pytest.raises(ValueError, match="kept once"):
        keep(t, 0)


# ---- branches --------------------------------------------------------------------------------------------------------------


def test_fork_shares_and_adopt_drops_the_others() -> None:
    t = tape()
    say(t, [0, 1])
    a, b = t.fork(), t.fork()
    say(t, [2, 3], a)
    say(t, [2], b)
    child = t.fork(a)
    say(t, [4], child)
    begin(t, [9], a)
    assert shown(t) == [[True, True, True, True, False, False, True]]
    t.adopt(a)
    order, branch, _ = t.kept()
    assert order.tolist() == [0, 1, 2, 3, 4]
    assert branch.tolist() == [TRUNK] * 4 + [child]
    assert t.line(child) == [child, TRUNK]
    assert t.line(GUESS) == [GUESS, TRUNK]
    t.adopt(child)
    assert t.kept()[1].tolist() == [TRUNK] * 5
    assert t.fork() == a  # the id is free again
    with pytest.raises(ValueError, match="no branch 7"):
        t.fork(7)


def test_drop_forgets_a_subtree() -> None:
    t = tape()
    say(t, [0])
    a = t.fork()
    say(t, [1], t.fork(a))
    say(t, [1], GUESS)
    t.drop(a)
    assert t.kept()[1].tolist() == [TRUNK, GUESS]
    t.drop(GUESS)
    begin(t, [1], GUESS)
    assert t.mask() is None
    with pytest.raises(ValueError, match="trunk cannot be dropped"):
        t.drop(TRUNK)
    with pytest.raises(ValueError, match=f"no branch {a}"):
        begin(t, [1], a)
    t.clear()
    assert len(t) == 0
    assert t.line(GUESS) == [GUESS, TRUNK]


# ---- the exactness rule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "rows", "why"),
    [
        ([2, 3, 4], (1, 2), "row 1 of the call has seen row 0, which is not kept"),
        ([2, 3, 4], (0, 2), "row 2 of the call has seen row 1"),
        ([2, 2, 2], (0, 1), "row 0 of the call has seen row 2"),
        ([1], (0,), "branch 0 holds order 1 and is given 1"),
        ([0], (0,), "orders of kept rows grow"),
    ],
    ids=["suffix", "gap", "half-a-block", "same-order-later", "smaller-order"],
)
def test_a_kept_row_has_seen_everything(order: list[int], rows: tuple[int, ...], why: str) -> None:
    t = tape()
    say(t, [0, 1])
    begin(t, order)
    with pytest.raises(ExactnessError, match=why):
        keep(t, *rows)


def test_the_trunk_stands_still_while_branches_live() -> None:
    t = tape()
    say(t, [0])
    a = t.fork()
    say(t, [1], a)
    begin(t, [2])
    with pytest.raises(ExactnessError, match=rf"branch 0 stands still while branches live: \[{a}\]"):
        keep(t, 0)
    t.drop(a)
    say(t, [2])


def test_a_child_may_not_fall_behind_a_parent_kept_with_it() -> None:
    t = tape()
    begin(t, [0, 1, 1], [TRUNK, TRUNK, GUESS])
    with pytest.raises(ExactnessError, match="branch 1 holds order 1 and is given 1"):
        keep(t, 0, 1, 2)


def test_checking_is_switched_by_argument_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_CHECK_TAPE", raising=False)
    assert not checking(None)
    monkeypatch.setenv("EDGE_CHECK_TAPE", "1")
    assert checking(None)
    assert not checking(False)
    t = tape(check=False)
    begin(t, [0, 1])
    keep(t, 1)  # wrong, and nobody looks


# ---- random programs -------------------------------------------------------------------------------------------------------


@dataclass
class Twin:
    """Keeps rows in a list and recomputes all of them by `transformers` at every call."""

    model: Any
    parents: dict[int, int] = field(default_factory=lambda: {TRUNK: -1, GUESS: TRUNK})
    rows: list[tuple[int, int, int]] = field(default_factory=list)  # token, order (which is the position too), branch

    def line(self, branch: int) -> list[int]:
        out = []
        while branch >= 0:
            out.append(branch)
            branch = self.parents[branch]
        return out

    def length(self, branch: int) -> int:
        return sum(b in self.line(branch) for _, _, b in self.rows)

    def logits(self, call: Call) -> Tensor:
        """float64 [R, V]. The mask is built pair by pair; kept rows do not see the call, which came after them."""
        rows = [*self.rows, *zip(call.tokens.tolist(), call.order.tolist(), call.branch.tolist(), strict=True)]
        old, masked = len(self.rows), torch.cat([torch.zeros(len(self.rows), dtype=torch.bool), call.masked])
        pairs = [
            [k[1] <= q[1] and k[2] in self.line(q[2]) and (n < old or m >= old) for n, k in enumerate(rows)]
            for m, q in enumerate(rows)
        ]
        tokens = torch.tensor([r[0] for r in rows]).masked_fill(masked, tiny.MASK)
        position = torch.cat([torch.tensor([r[1] for r in self.rows], dtype=torch.long), call.position])
        mask = additive(torch.tensor(pairs), torch.float64)[None, None]
        with torch.no_grad():
            out = self.model(tokens[None], position_ids=position[None], attention_mask=mask, use_cache=False)
        return out.logits[0, old:]


def causal_rows(twin: Twin, branch: int, count: int, seed: int) -> tuple[list[int], list[int]]:
    start = twin.length(branch)
    return tiny.tokens(count, seed), list(range(start, start + count))


@pytest.fixture(scope="module")
def twins(checkpoint: Callable[..., Any], backbone: Callable[..., Any]) -> tuple[Any, Any]:
    model = tiny.build("qwen2").double()
    return model, backbone("qwen2", dtype="float64")


def step(session: Session, twin: Twin, op: str, pick: int, n: int, accept: int, seed: int) -> None:
    """One operation of a random program, on the session and on its twin."""
    t, live = session.tape, sorted(twin.parents)
    b = live[pick % len(live)]
    if op == "fork" and len(live) < 6:
        twin.parents[t.fork(b)] = b
    elif op == "adopt" and b != TRUNK:
        t.adopt(b)
        line = twin.line(b)
        below = {c for c in live if c != b and b in twin.line(c)}
        twin.rows = [(*r[:2], TRUNK if r[2] in line else r[2]) for r in twin.rows if r[2] in line or r[2] in below]
        twin.parents = {c: TRUNK if p == b else p for c, p in twin.parents.items() if c in below} | {TRUNK: -1}
        twin.parents.setdefault(GUESS, TRUNK)
    elif op == "drop" and b != TRUNK:
        t.drop(b)
        gone = {c for c in live if b in twin.line(c)}
        twin.rows = [r for r in twin.rows if r[2] not in gone]
        twin.parents = {c: p for c, p in twin.parents.items() if c not in gone}
        twin.parents.setdefault(GUESS, TRUNK)
    session.branches = {c: c for c in twin.parents}
    if op in ("causal", "block", "both"):
        forward(session, twin, op, b, n, accept, seed)


def forward(session: Session, twin: Twin, op: str, b: int, n: int, accept: int, seed: int) -> None:
    tokens, order = causal_rows(twin, b, n, seed)
    position, branch, masked = list(order), [b] * n, [False] * n
    if op == "block":
        order, masked = [order[0]] * n, [False] + [True] * (n - 1)
    children = [c for c, p in twin.parents.items() if p == b]
    if op == "both" and children:  # a draft below the rows that are being verified
        tokens, masked = tokens + tokens, masked + [True] * n
        start = position[-1] + 1
        order, position, branch = order + [start] * n, position + list(range(start, start + n)), branch + [children[0]] * n
    call = Call(
        torch.tensor(tokens), torch.tensor(masked), torch.tensor(order), torch.tensor(branch), torch.tensor(position),
        tuple(After(i) for i in range(len(tokens))),
    )  # fmt: skip
    got, wanted = session.forward(call).logits, twin.logits(call)
    allowed = got.isfinite()
    assert float((got - wanted)[allowed].abs().max()) < 1e-4
    stands_still = any(b in twin.line(r[2]) and r[2] != b for r in twin.rows)
    count = 0 if op == "block" or stands_still else min(accept, n)
    if count or accept % 2:  # sometimes keep nothing by not calling keep at all
        session.keep(torch.arange(count))
    twin.rows += [(tokens[i], order[i], b) for i in range(count)]


@settings(max_examples=150, deadline=None)
@given(
    program=st.lists(
        st.tuples(
            st.sampled_from(["causal", "causal", "block", "both", "fork", "adopt", "drop"]),
            st.integers(0, 5),
            st.integers(1, 5),
            st.integers(0, 5),
            st.integers(0, 999),
        ),
        min_size=4,
        max_size=14,
    )
)
def test_random_programs(twins: tuple[Any, Any], program: list[tuple[str, int, int, int, int]]) -> None:
    model, backbone = twins
    session, twin = Session(backbone, [5], capacity=80, scratch=40, check=True), Twin(model)
    forward(session, twin, "causal", TRUNK, 4, 4, 0)
    for operation in program:
        step(session, twin, *operation)
        order, branch, _ = session.tape.kept()
        assert sorted(zip(order.tolist(), branch.tolist(), strict=True)) == sorted((r[1], r[2]) for r in twin.rows)
        assert bool((order < DEAD_ORDER).all())
