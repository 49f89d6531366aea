"""The render bench: rates that follow from each other."""

from __future__ import annotations

import pytest

from edge.bench import render
from edge.core.errors import InputError
from robotics.driving.demo import demo_window


def test_rates_of_a_few_windows() -> None:
    windows = [demo_window(0), demo_window(1)]
    result = render.bench({"simulated": windows * 2}, show=False)
    (row,) = result["rows"]
    assert (row["windows"], row["scenes"]) == (4, 2)
    assert row["images_per_s_core"] > 0
    assert 0 < row["images_per_s_elapsed"] <= row["images_per_s_core"] * 1.2
    assert row["images_per_s_core"] == pytest.approx(1e3 / row["ms_p50"], rel=0.8)
    assert render.table(result).row_count == 1
    with pytest.raises(InputError, match="no window"):
        render.bench({"none": []}, show=False)


def test_without_recorded_windows_only_simulated_ones_are_painted() -> None:
    assert [len(w) for w in render.groups([], demos=1).values()] == [1]
