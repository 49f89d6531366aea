"""The sheet of plans: written, the same bytes for the same plans, and refused without any."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.errors import InputError
from robotics.driving.figure_drawn import PLAN_COLOURS
from robotics.driving.gallery import Shown, draw_gallery
from tests.robotics.driving.test_picture import share, straight, window


def shown(speed: float) -> Shown:
    return Shown(window(), {"model": straight(speed), "baseline": straight(8.0, y=3.0)}, f"{speed} m/s")


def test_a_sheet_shows_every_plan(tmp_path) -> None:
    one = draw_gallery({"best": [shown(8.0)]}, tmp_path / "one.png", "plans")
    assert all(share(one, colour) > 1e-4 for colour in PLAN_COLOURS[:2])
    again = draw_gallery({"best": [shown(8.0)]}, tmp_path / "again.png", "plans")
    assert one.read_bytes() == again.read_bytes()
    other = draw_gallery({"best": [shown(2.0)]}, tmp_path / "other.png", "plans")
    assert one.read_bytes() != other.read_bytes()
    rows = {"best": [shown(8.0), shown(7.0)], "worst": [shown(2.0)]}  # not as many in every row
    assert draw_gallery(rows, tmp_path / "rows.png", "plans").stat().st_size > one.stat().st_size


def test_a_sheet_of_nothing_is_refused(tmp_path) -> None:
    for rows in ({}, {"best": []}):
        with pytest.raises(InputError, match="at least one plan"):
            draw_gallery(rows, tmp_path / "x.png", "plans")
    with pytest.raises(InputError, match="cannot write"):
        draw_gallery({"best": [shown(1.0)]}, tmp_path / "none" / "x.png", "plans")


def test_the_first_plan_is_the_one_in_the_camera(tmp_path) -> None:
    far = Shown(window(), {"model": straight(8.0)}, "")
    none = Shown(window(), {"model": np.zeros((5, 2))}, "")  # stands: there is no band on the road
    a, b = (share(draw_gallery({"x": [s]}, tmp_path / f"{n}.png", ""), PLAN_COLOURS[0]) for n, s in enumerate((far, none)))
    assert a > b
