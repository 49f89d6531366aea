"""L2 and collision in both conventions, by hand and against a slow twin."""

import numpy as np
import pytest

from edge.core.errors import InputError
from robotics.driving.metrics import OpenLoop, occupancy, open_loop

AHEAD = np.stack([np.arange(1, 7) * 5.0, np.zeros(6)], axis=1)


def off_by(*metres: float) -> np.ndarray:
    return AHEAD + np.stack([np.zeros(6), metres], axis=1)


def test_l2_at_a_step_and_up_to_it() -> None:
    """Errors of 0.1, 0.2, ... 0.6 m at 0.5, 1.0, ... 3 s."""
    pred, truth = off_by(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)[None], AHEAD[None]
    at = open_loop(pred, truth, None, convention="UniAD", ego_status=True)
    upto = open_loop(pred, truth, None, convention="ST-P3", ego_status=True)
    assert at.l2_m == pytest.approx((0.2, 0.4, 0.6))
    assert upto.l2_m == pytest.approx((0.15, 0.25, 0.35))
    assert (at.l2_avg_m, upto.l2_avg_m) == pytest.approx((0.4, 0.25))
    assert np.isnan(at.collision).all()


def parked(*steps: int, x: float, y: float = 0.0) -> np.ndarray:
    """A car of 4 by 2 m that is there at some of six steps."""
    boxes = np.full((6, 1, 5), np.nan)
    boxes[list(steps), 0] = x, y, 0.0, 4.0, 2.0
    return boxes


def test_collisions_of_one_frame() -> None:
    occupied = occupancy(parked(3, x=20.0, y=3.0))[None]  # beside the true path at 2 s
    hit = open_loop(off_by(0, 0, 0, 2.5, 0, 0)[None], AHEAD[None], occupied, convention="UniAD", ego_status=False)
    assert hit.collision == (0.0, 1.0, 0.0)
    upto = open_loop(off_by(0, 0, 0, 2.5, 0, 0)[None], AHEAD[None], occupied, convention="ST-P3", ego_status=False)
    assert upto.collision == pytest.approx((0.0, 1 / 4, 1 / 6))
    assert upto.collision_avg == pytest.approx((1 / 4 + 1 / 6) / 3)


def test_steps_at_which_the_truth_collides_count_as_no_collision_of_everyone() -> None:
    occupied = np.stack([occupancy(parked(3, x=20.0)), occupancy(parked(3, x=20.0, y=3.0))])  # the first is hit by the truth itself
    pred = np.stack([AHEAD, off_by(0, 0, 0, 2.5, 0, 0)])
    got = open_loop(pred, np.stack([AHEAD, AHEAD]), occupied, convention="UniAD", ego_status=True)
    assert got.collision == (0.0, 0.5, 0.0)  # one of two frames, not of one


def test_centre_and_box_differ() -> None:
    occupied = occupancy(parked(*range(6), x=30.0, y=1.4))[None]
    grazing = open_loop(AHEAD[None], off_by(*[-9.0] * 6)[None], occupied, convention="UniAD", ego_status=True)
    assert grazing.collision[2] == 1.0
    assert grazing.centre_collision[2] == 0.0
    through = open_loop(off_by(*[2.0] * 6)[None], off_by(*[-9.0] * 6)[None], occupied, convention="UniAD", ego_status=True)
    assert through.centre_collision[2] == 1.0


def slow_counts(pred, truth, occupied) -> np.ndarray:
    """Box collisions per step, summed as the published code sums them: frame after frame."""
    total = np.zeros(6)
    for path, driven, grid in zip(pred, truth, occupied, strict=True):
        for t in range(6):
            hit = []
            for x, y in (path[t], driven[t]):
                cells = [(int(x / 0.5 + r), int(y / 0.5 + c)) for r in range(97, 105) for c in range(98, 102)]
                hit.append(any(grid[t, min(max(r, 0), 199), min(max(c, 0), 199)] for r, c in cells))
            total[t] += hit[0] and not hit[1]
    return total / len(pred)


def test_collision_rates_agree_with_a_slow_twin() -> None:
    rng = np.random.default_rng(0)
    n = 12
    boxes = rng.uniform((-30, -30, -3, 1, 1), (30, 30, 3, 8, 8), (n * 6, 25, 5))
    occupied = occupancy(boxes).reshape(n, 6, 200, 200)
    pred, truth = rng.uniform(-30, 30, (2, n, 6, 2))
    per_step = slow_counts(pred, truth, occupied)
    assert 0.1 < per_step.mean() < 0.9
    at = open_loop(pred, truth, occupied, convention="UniAD", ego_status=True)
    upto = open_loop(pred, truth, occupied, convention="ST-P3", ego_status=True)
    assert at.collision == pytest.approx(per_step[[1, 3, 5]])
    assert upto.collision == pytest.approx([per_step[: 2 * k].mean() for k in (1, 2, 3)])


def test_a_result_says_how_it_was_measured() -> None:
    got = OpenLoop("UniAD", False, 12, (0.2, 0.4, 0.6), (0.0, 0.01, 0.02), (0.0, 0.0, 0.0))
    assert str(got) == (
        "L2 1/2/3 s/avg 0.20 / 0.40 / 0.60 / 0.40 m; collision 0.00% / 1.00% / 2.00% / 1.00% "
        "[UniAD (NoAvg: at the step), without ego status, 12 frames]"
    )
    other = OpenLoop("ST-P3", True, 12, (0.2, 0.4, 0.6), (0.0, 0.01, 0.02), (0.0, 0.0, 0.0))
    assert "TemAvg" in str(other)
    assert "with ego status" in str(other)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'UniAD'"):
        open_loop(AHEAD[None], AHEAD[None], None, convention="Uniad", ego_status=True)
    with pytest.raises(InputError, match=r"0\.5 s apart"):
        open_loop(AHEAD[None, :5], AHEAD[None, :5], None, convention="UniAD", ego_status=True)
    with pytest.raises(InputError, match="finite"):
        open_loop(AHEAD[None] * np.nan, AHEAD[None], None, convention="UniAD", ego_status=True)
    with pytest.raises(InputError, match="200, 200"):
        open_loop(AHEAD[None], AHEAD[None], np.zeros((1, 6, 20, 20), bool), convention="UniAD", ego_status=True)
