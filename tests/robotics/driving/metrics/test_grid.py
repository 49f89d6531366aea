"""The collision grid: against OpenCV, against a slow twin, and cell by cell."""

import cv2
import numpy as np
import pytest

from robotics.driving.metrics.grid import CELLS, box_hits, centre_hits, occupancy
from robotics.driving.pdm.boxes import corners


def some_boxes(rng: np.random.Generator, n: int, spread: float = 52.0) -> np.ndarray:
    return rng.uniform((-spread, -spread, -7, 0.3, 0.3), (spread, spread, 7, 18, 4), (n, 5))


def opencv_s(box: np.ndarray) -> np.ndarray:
    out = np.zeros((CELLS, CELLS), np.uint8)
    at = np.round((corners(box) + 50) / 0.5).astype(np.int32)
    cv2.fillPoly(out, [at[:, ::-1]], (1,))  # its columns are our second axis
    return out > 0


def test_boxes_cover_the_cells_that_opencv_fills() -> None:
    for box in some_boxes(np.random.default_rng(0), 2000, spread=40):
        np.testing.assert_array_equal(occupancy(box[None, None])[0], opencv_s(box), err_msg=str(box))


def test_boxes_that_the_border_cuts_differ_in_their_outline_at_most() -> None:
    rng = np.random.default_rng(0)
    filled = different = 0
    for box in some_boxes(rng, 500):
        ours, theirs = occupancy(box[None, None])[0], opencv_s(box)
        inner = box - [0, 0, 0, 2.0, 2.0]
        if (inner[3:] > 0).all():
            assert (ours & theirs)[occupancy(inner[None, None])[0]].all()
        filled, different = filled + theirs.sum(), different + (ours != theirs).sum()
    assert different < 0.02 * filled


def test_many_boxes_and_absent_ones() -> None:
    rng = np.random.default_rng(1)
    boxes = some_boxes(rng, 12).reshape(2, 6, 5)
    boxes[0, 3] = np.nan
    each = occupancy(boxes.reshape(12, 1, 5)).reshape(2, 6, CELLS, CELLS)
    np.testing.assert_array_equal(occupancy(boxes), each.any(axis=1))
    assert not each[0, 3].any()


def test_the_ego_covers_8_by_4_cells_and_a_half_metre_ahead() -> None:
    """Centres from -1.25 to 2.25 m along and from -0.75 to 0.75 m across."""
    grid = np.zeros((1, CELLS, CELLS), bool)
    hits = np.zeros((CELLS, CELLS), bool)
    for x in range(90, 112):
        for y in range(90, 112):
            grid[:] = False
            grid[0, x, y] = True
            hits[x, y] = box_hits(np.zeros((1, 2)), grid)[0]
    xs, ys = np.nonzero(hits)
    assert (xs.min(), xs.max(), ys.min(), ys.max(), hits.sum()) == (97, 104, 98, 101, 32)


@pytest.mark.parametrize(
    ("x", "y", "rows", "columns"),
    [
        (0.49, 0.0, (97, 104), (98, 101)),
        (0.5, 0.0, (98, 105), (98, 101)),
        (0.0, -0.01, (97, 104), (97, 100)),
        (-0.01, 0.0, (96, 103), (98, 101)),
    ],
)
def test_the_ego_moves_in_whole_cells_and_never_turns(x, y, rows, columns) -> None:
    first, last = (rows[0], columns[0]), (rows[1], columns[1])
    for cell, inside in ((first, True), (last, True), ((last[0] + 1, last[1]), False), ((first[0], first[1] - 1), False)):
        grid = np.zeros((1, CELLS, CELLS), bool)
        grid[0, *cell] = True
        assert box_hits(np.array([[x, y]]), grid)[0] == inside


def slow_hits(path, occupied) -> tuple[list[bool], list[bool]]:
    """Box and centre, a cell at a time, as the published code does it."""
    box, centre = [], []
    for t, (x, y) in enumerate(path):
        hit = False
        for row in range(97, 105):
            for column in range(98, 102):
                r = min(max(int(x / 0.5 + row), 0), 199)
                c = min(max(int(y / 0.5 + column), 0), 199)
                hit = hit or bool(occupied[t, r, c])
        box.append(hit)
        r, c = int((x + 49.75) / 0.5), int((y + 49.75) / 0.5)
        centre.append(0 <= r < 200 and 0 <= c < 200 and bool(occupied[t, r, c]))
    return box, centre


def test_hits_agree_with_a_slow_twin() -> None:
    rng = np.random.default_rng(2)
    seen = []
    for _ in range(25):
        occupied = occupancy(some_boxes(rng, 6 * 30).reshape(6, 30, 5))
        path = rng.uniform(-60, 60, (6, 2))
        box, centre = slow_hits(path, occupied)
        np.testing.assert_array_equal(box_hits(path, occupied), box)
        np.testing.assert_array_equal(centre_hits(path, occupied), centre)
        seen += [*box, *centre]
    assert 0.05 < np.mean(seen) < 0.95


def test_beyond_the_grid_the_border_counts_for_the_box_alone() -> None:
    grid = np.zeros((1, CELLS, CELLS), bool)
    grid[0, 199, 100] = True
    assert box_hits(np.array([[70.0, 0.0]]), grid)[0]
    assert not centre_hits(np.array([[70.0, 0.25]]), grid)[0]
    assert not box_hits(np.array([[-70.0, 0.0]]), grid)[0]


def test_batches_of_frames() -> None:
    rng = np.random.default_rng(3)
    occupied = occupancy(some_boxes(rng, 18 * 30).reshape(18, 30, 5)).reshape(3, 6, CELLS, CELLS)
    path = rng.uniform(-50, 50, (3, 6, 2))
    for hits in (box_hits, centre_hits):
        np.testing.assert_array_equal(hits(path, occupied), [hits(p, o) for p, o in zip(path, occupied, strict=True)])
