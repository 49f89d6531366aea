"""Rounding to E4M3 against a table of all its numbers."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edge.quant.e4m3 import DTYPE, HALF_ULP, MAX, decode, encode, rounded, rounding_bound, scale_for, token_scales

TABLE = torch.arange(256, dtype=torch.uint8).view(DTYPE).float()
NUMBERS = sorted({float(v) for v in TABLE if math.isfinite(v)})
VALUES = st.floats(-1000, 1000, width=32)
SCALES = st.floats(2.0**-20, 2.0**20, width=32)


def slowly(value: float) -> float:
    """The nearest number of the format, of two the one with an even last digit; the largest one beyond it."""
    near = sorted(NUMBERS, key=lambda n: abs(n - value))[:2]
    if len(near) == 2 and abs(near[0] - value) == abs(near[1] - value):
        codes = {float(v): int(c) for c, v in enumerate(TABLE) if math.isfinite(v)}
        return min(near, key=lambda n: codes[n] % 2)
    return near[0]


def test_the_table_is_the_format() -> None:
    assert max(NUMBERS) == MAX
    assert min(n for n in NUMBERS if n > 0) == 2.0**-9


@given(st.lists(VALUES, min_size=1, max_size=20))
def test_rounds_to_the_nearest_number(values: list[float]) -> None:
    x = torch.tensor(values)
    assert encode(x, torch.tensor(1.0)).float().tolist() == [slowly(float(v)) for v in x]


@given(st.lists(VALUES, min_size=1, max_size=20), SCALES)
def test_the_bound_holds_and_is_half_an_ulp(values: list[float], size: float) -> None:
    x, scale = torch.tensor(values, dtype=torch.float64), torch.tensor(size)
    error, bound = (rounded(x, scale) - x).abs(), rounding_bound(x, scale)
    assert bool((error <= bound * (1 + 1e-6)).all())
    normal = (x.abs() >= 2.0**-6 * size) & (x.abs() <= MAX * size)
    assert bool((bound <= x.abs() * HALF_ULP * (1 + 1e-6))[normal].all())
    assert bool((bound == 2.0**-10 * size)[x.abs() < 2.0**-6 * size].all())


def test_the_bound_is_reached() -> None:
    x, one = torch.tensor([1.0 + HALF_ULP, 2.0**-10, 500.0]), torch.tensor(1.0)
    assert torch.equal((rounded(x, one) - x).abs(), rounding_bound(x, one))


@given(st.lists(VALUES, min_size=1, max_size=20), st.integers(-6, 6))
def test_a_power_of_two_changes_no_digit_of_a_normal_number(values: list[float], exponent: int) -> None:
    x = torch.tensor([v for v in values if 1 <= abs(v) <= MAX])
    by = 2.0**exponent
    assert torch.equal(rounded(x, torch.tensor(by)), rounded(x, torch.tensor(1.0)).clamp(-MAX * by, MAX * by)) or by < 1
    assert torch.equal(rounded(x * by, torch.tensor(by)), rounded(x, torch.tensor(1.0)) * by)


def test_scales() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, -896.0], [1e-30, 0.0]])
    scale = token_scales(x)
    assert scale.shape == (3, 1)
    assert scale[:2].flatten().tolist() == [1.0, 2.0]
    assert bool((encode(x, scale).float().abs().amax(1) == torch.tensor([0.0, MAX, MAX])).all())
    assert bool((scale_for(torch.tensor([0.0, 1e-45])) > 0).all())


def test_never_nan() -> None:
    x = torch.tensor([1e30, -1e30, float("inf")])
    assert encode(x, torch.tensor(1e-3)).float().tolist() == [MAX, -MAX, MAX]


def test_values_are_exact_in_wider_dtypes() -> None:
    finite: Tensor = TABLE[TABLE.isfinite()]
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(finite.to(DTYPE).to(dtype).float(), finite)
    assert decode(finite.to(DTYPE), torch.tensor(3.0), torch.float64).tolist() == [3 * float(v) for v in finite]
