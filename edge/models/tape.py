"""The cache as a tape of rows, of which nothing is permanent until kept.

A forward writes the keys and values of its R rows into free slots (`begin`, then the model writes); `keep` makes some of them
permanent and the others vanish, at the latest at the next `begin`. So there is no roll-back code. A slot has an order and a
branch (see `edge.core.visibility`); an empty one has `DEAD_ORDER`, which no row sees. Buffers are static and zeroed, never
merely allocated: a NaN behind a mask still poisons attention. Slots are taken lowest first, so plain decoding stays contiguous.

Branches form a forest under the trunk. `fork` opens a branch that shares its parent's rows without a copy, `adopt` makes a branch
the trunk, `drop` forgets one.

The exactness rule: *a kept row has seen every row it may ever see, each at its final token.* With `check` on (or the environment
variable EDGE_CHECK_TAPE=1) `keep` asserts what the tape can know of it: a row is kept together with all rows of its call that it
saw (rows of one order go together); orders of kept rows grow along a lineage; a branch stands still while branches below it live.
The tape does not know tokens; the session asserts that they are final.

Shapes: `R` rows of a call, `n` used slots, `Hkv` key/value heads, `D` head size.
"""

from __future__ import annotations

import os
from itertools import pairwise

import torch
from torch import Tensor

from edge.core.errors import InputError
from edge.core.types import GUESS, TRUNK
from edge.core.visibility import DEAD_ORDER, visible

CHECK_VARIABLE = "EDGE_CHECK_TAPE"
_GONE = -2  # parent of a branch id that is free for reuse


class ExactnessError(AssertionError):
    """A strategy or host tried to keep a row that has not seen everything it may ever see. A bug, not a user's mistake."""


def checking(check: bool | None) -> bool:
    """`check` itself, or what the environment variable EDGE_CHECK_TAPE says when it is None."""
    return os.environ.get(CHECK_VARIABLE, "") not in ("", "0") if check is None else check


class Tape:
    """Keys and values of one sequence.

    After `begin`: `keys[layer]` and `values[layer]` are views [1, Hkv, n, D] of the used slots, `write` fills those of the call
    (`into[layer]` is a view [R, 2 Hkv, D] of them, keys first, or None when they are scattered), and `mask` says what its rows
    see. Bookkeeping lives on the CPU, the buffers on `device`.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        check: bool | None = None,
    ) -> None:
        """capacity: slots, for permanent rows and those of one forward together."""
        self.capacity, self.check = capacity, checking(check)
        self.store = torch.zeros(layers, 2 * kv_heads, capacity, head_dim, dtype=dtype, device=device)
        self.keys: tuple[Tensor, ...] = ()
        self.values: tuple[Tensor, ...] = ()
        self._heads = kv_heads
        self._order = torch.full((capacity,), DEAD_ORDER)
        self._branch = torch.zeros(capacity, dtype=torch.long)
        self._position = torch.zeros(capacity, dtype=torch.long)
        self.clear()

    def clear(self) -> None:
        """Forget every row and every branch."""
        self._order.fill_(DEAD_ORDER)
        self._branch.zero_()  # no id of a forgotten branch may linger in an empty slot
        self._call: tuple[Tensor, Tensor, Tensor] | None = None  # order, branch, position of the last call's rows
        self._slots: Tensor | None = None  # their slots, where these are scattered
        self.into: tuple[Tensor, ...] | None = None
        self._start = self._rows = self._end = self._used = 0  # kept rows lie below slot `_end`
        self._holes: list[int] = []  # free slots below `_end`, sorted
        self._top = {TRUNK: -1}  # largest kept order of every branch that has kept rows, and of the trunk
        self._plain = self._full = False
        self._parents = [-1, TRUNK]
        self._link()

    def rewind(self, rows: int) -> None:
        """Forget every branch, and of the trunk all rows at position `rows` and behind. What stays is as it was kept.

        Only for a trunk whose rows see no row behind them (causal ones, or whole blocks up to `rows`).
        """
        stays = (self._branch == TRUNK) & (self._position < rows) & (self._order != DEAD_ORDER)
        self._order[~stays] = DEAD_ORDER
        self._branch.zero_()
        self._call, self._slots, self.into = None, None, None
        self._start = self._rows = self._used = 0
        self._parents = [-1, TRUNK]
        self._top = {TRUNK: int(self._order[stays].max()) if bool(stays.any()) else -1}
        self._plain = self._full = False
        self._link()
        self._compact()

    def _link(self) -> None:
        """Rebuild the ancestor matrix. Ids are reused, so a parent may have a larger id than its child."""
        self.ancestor = torch.eye(len(self._parents), dtype=torch.bool)
        for b, parent in enumerate(self._parents):
            while parent >= 0:
                self.ancestor[b, parent] = True
                parent = self._parents[parent]

    # ---- rows -------------------------------------------------------------------------------------------------------------

    def begin(self, order: Tensor, branch: Tensor, position: Tensor) -> None:
        """Take slots for a call's rows (all int64 [R], on the CPU). Unkept rows of the last call vanish.

        Raises InputError when the tape is full, ValueError on a branch that does not exist.
        """
        rows, end = order.shape[0], self._end
        if len(self._holes) + self.capacity - end < rows:
            raise InputError(
                f"the cache of {self.capacity} rows is full: {len(self)} are kept and {rows} more are needed; "
                "shorten the prompt or the answer, or open the session with a larger capacity"
            )
        self._classify(order.tolist(), set(branch.tolist()))
        self._call, self._rows = (order, branch, position), rows
        if not self._holes:
            self._view(end, end + rows)
            self._slots = None
        else:
            free = self._holes[:rows]
            self._view(end, max(end, end + rows - len(free)))
            self._slots, self.into = torch.tensor([*free, *range(end, self._used)]), None
            self._scattered = self._slots.to(self.store.device)

    def _view(self, start: int, used: int) -> None:
        """Cut the views of the used slots and of those from `start` on. A draft and its verification have the same."""
        if self.into is not None and (self._start, self._used) == (start, used):
            return
        self._start, self._used = start, used
        cut = self.store[:, None, :, :used]
        self.keys, self.values = cut[:, :, : self._heads].unbind(0), cut[:, :, self._heads :].unbind(0)
        self.into = self.store[:, :, start:used].transpose(1, 2).unbind(0)

    def _classify(self, orders: list[int], branches: set[int]) -> None:
        """Notice the two cheap cases: all kept rows and all rows of the call on one line, and nothing hidden at all."""
        for b in branches:
            self._alive(b)
        self._plain = len(branches) == 1 and len(self._top) == 1
        low = min(orders)
        self._full = self._plain and not self._holes and self._top[TRUNK] <= low and low == max(orders)

    def write(self, layer: int, kv: Tensor) -> None:
        """Store keys and values of the call's rows: [R, 2 Hkv, D], keys first."""
        if self.into is not None:
            self.into[layer].copy_(kv)
        else:
            self.store[layer].index_copy_(1, self._scattered, kv.transpose(0, 1).to(self.store.dtype))

    def mask(self, window: int | None = None) -> Tensor | None:
        """What the rows of the call see among the used slots: bool [R, n] on the CPU, or None when nothing is hidden.

        window: rows further back than this many positions are hidden too (a layer's own sliding window).
        """
        if self._full and window is None:
            return None
        order, branch, position = self._last()
        order_k = self._column(self._order, order)
        if self._plain:  # everything lies on one line: order alone decides
            seen = order_k <= order[:, None]
        else:
            seen = visible(order, branch, order_k, self._column(self._branch, branch), self.ancestor)
        if window is not None:
            seen &= position[:, None] - self._column(self._position, position) < window
        return seen

    def _column(self, kept: Tensor, call: Tensor) -> Tensor:
        """One attribute of all used slots, int64 [n]: of the kept rows and of those of the call."""
        if self._slots is None:
            return torch.cat([kept[: self._end], call])
        out = kept[: self._used].clone()
        out[self._slots] = call
        return out

    def keep(self, rows: Tensor) -> None:
        """Make rows of the last call permanent (int64 [K], indices into the call, ascending); its other rows vanish.

        Raises ExactnessError when checking is on and the exactness rule would break; ValueError on rows that are none.
        """
        call = self._last()
        chosen = rows.tolist()
        n = len(chosen)
        if n and not (chosen[0] >= 0 and chosen[-1] < self._rows and all(a < b for a, b in pairwise(chosen))):
            raise ValueError(f"rows to keep must be ascending indices into the last call of {self._rows} rows: got {chosen}")
        order, branch, position = (t[rows] for t in call)
        if self.check:
            self._assert_exact(rows)
        for b, o in zip(branch.tolist(), order.tolist(), strict=True):
            if o > self._top.get(b, -1):
                self._top[b] = o
        scattered = self._slots is not None or (n and chosen[-1] != n - 1)
        slots = self._slots[rows] if self._slots is not None else rows + self._end if scattered else slice(self._end, self._end + n)
        self._order[slots], self._branch[slots], self._position[slots] = order, branch, position
        if scattered:
            self._compact()
        else:
            self._end += n
        self._call = None

    def _last(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._call is None:
            raise ValueError("there is no call whose rows could be kept or seen: rows of a call are kept once, right after it")
        return self._call

    def _compact(self) -> None:
        """Recompute the end of the kept rows and the holes below it from the orders."""
        live = self._order != DEAD_ORDER
        used = live.nonzero().flatten()
        self._end = int(used[-1]) + 1 if used.numel() else 0
        self._holes = (~live[: self._end]).nonzero().flatten().tolist()

    def _assert_exact(self, rows: Tensor) -> None:
        order, branch, _ = self._last()
        lost = torch.ones(self._rows, dtype=torch.bool)
        lost[rows] = False
        seen = visible(order[rows], branch[rows], order, branch, self.ancestor) & lost
        if bool(seen.any()):
            q, k = seen.nonzero()[0].tolist()
            raise ExactnessError(f"row {int(rows[q])} of the call has seen row {k}, which is not kept with it")
        kept = [(o, b) for o, b in zip(order[rows].tolist(), branch[rows].tolist(), strict=True)]
        for o, b in kept:
            line = [a for a in range(len(self._parents)) if self.ancestor[b, a]]
            before = max(self._top.get(a, -1) for a in line)
            beside = max((p for p, c in kept if c != b and c in line), default=-1)
            if o <= max(before, beside):
                raise ExactnessError(
                    f"orders of kept rows grow along a lineage: branch {b} holds order {max(before, beside)} and is given {o}"
                )
            below = [c for c in self._top if c != b and self.ancestor[c, b]]
            if below:
                raise ExactnessError(f"branch {b} stands still while branches live: {sorted(below)} have kept rows below it")

    # ---- branches ---------------------------------------------------------------------------------------------------------

    def fork(self, parent: int = TRUNK) -> int:
        """Open a branch below `parent`, which it sees without a copy; returns its id."""
        self._alive(parent)
        for b, p in enumerate(self._parents):
            if p == _GONE:
                self._parents[b] = parent
                break
        else:
            b = len(self._parents)
            self._parents.append(parent)
        self._link()
        return b

    def adopt(self, branch: int) -> None:
        """Make `branch` the trunk: rows on its line become trunk rows, branches below it live on, all others are forgotten.

        The trunk keeps its GUESS branch, empty unless it lay below `branch`. Unkept rows of the last call vanish.
        """
        self._alive(branch)
        self._call = None
        if branch == TRUNK:
            for b, p in enumerate(self._parents):
                if p == TRUNK:
                    self.drop(b)
            return
        line, below = self.ancestor[branch], self.ancestor[:, branch].clone()
        below[branch] = False
        on_line, on_below = line[self._branch], below[self._branch]
        live = self._order != DEAD_ORDER
        self._order[live & ~on_line & ~on_below] = DEAD_ORDER
        self._branch[on_line] = TRUNK
        top = max(o for b, o in self._top.items() if line[b])
        self._top = {TRUNK: top} | {b: o for b, o in self._top.items() if below[b]}
        self._parents = [
            -1 if b == TRUNK else (TRUNK if p == branch else p) if below[b] else _GONE for b, p in enumerate(self._parents)
        ]
        if self._parents[GUESS] == _GONE:
            self._parents[GUESS] = TRUNK
        self._link()
        self._compact()

    def drop(self, branch: int) -> None:
        """Forget `branch` and all below it. Unkept rows of the last call vanish. GUESS is emptied and stays."""
        self._alive(branch)
        if branch == TRUNK:
            raise ValueError("the trunk cannot be dropped; clear the tape instead")
        self._call = None
        below = self.ancestor[:, branch]
        self._order[below[self._branch]] = DEAD_ORDER
        self._top = {b: o for b, o in self._top.items() if not below[b]}
        self._parents = [_GONE if below[b] else p for b, p in enumerate(self._parents)]
        if self._parents[GUESS] == _GONE:
            self._parents[GUESS] = TRUNK
        self._link()
        self._compact()

    def _alive(self, branch: int) -> None:
        if not 0 <= branch < len(self._parents) or self._parents[branch] == _GONE:
            raise ValueError(f"there is no branch {branch} on this tape; fork it first")

    # ---- what is on it ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Kept rows, on all branches."""
        return self._end - len(self._holes)

    def kept(self) -> tuple[Tensor, Tensor, Tensor]:
        """Order, branch and position of the kept rows, each int64 [len(self)], by slot."""
        slots = torch.ones(self._end, dtype=torch.bool)
        slots[self._holes] = False
        return self._order[: self._end][slots], self._branch[: self._end][slots], self._position[: self._end][slots]

    def trunk_values(self) -> Tensor:
        """Values of the trunk's kept rows in the order of their positions, a copy: [layers, Hkv, rows, D]."""
        slots = ((self._branch == TRUNK) & (self._order != DEAD_ORDER)).nonzero().flatten()
        slots = slots[self._position[slots].argsort()]
        return self.store[:, self._heads :, slots.to(self.store.device)]

    def line(self, branch: int) -> list[int]:
        """`branch` and the branches above it, nearest first."""
        out = []
        while branch >= 0:
            out.append(branch)
            branch = self._parents[branch]
        return out
