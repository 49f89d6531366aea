"""The rater feedback score against golden values and a slow twin."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.errors import InputError
from robotics.driving.metrics import CLUSTERS, ade, best_rated, cluster_mean, rfs, thresholds

T = np.arange(1, 21) * 0.25
RATERS = [np.stack([v * T, 0 * T], 1) for v in (10.0, 5.0, 0.0)]


@pytest.mark.parametrize(
    ("x", "y", "v0", "score", "inside"),
    [
        (10 * T, 0 * T, 10, 9.0, True),
        (0 * T, 0 * T, 10, 3.0, True),  # no floor inside
        (11 * T, 0 * T, 12, 9.0, True),
        (11.5 * T, 0 * T, 12, 7.46285, False),
        (10 * T, 0.35 * T, 12, 8.51063, False),
        (10 * T, 0.4 * T, 12, 6.32349, False),
        (7.5 * T, 0 * T, 12, 4.0, False),
        (11.5 * T, 0 * T, 0, 4.0, False),
        (np.where(T <= 3, 10 * T, 5 * T), 0 * T, 12, 7.5, False),  # the best rater is taken per time
    ],
)
def test_rfs_golden(x, y, v0, score, inside) -> None:
    """Measured with the official function (waymo_open_dataset, rater_feedback_utils.py, floor 4, decay 0.1, 4 Hz)
    on three straight raters (v t, 0), v = 10, 5, 0 m/s, t = 0.25 .. 5 s, labelled 9, 6, 3."""
    got = rfs(np.stack([x, y], 1), RATERS, [9, 6, 3], v0)
    assert got[0] == pytest.approx(score, abs=1e-5)
    assert got[1] is inside


@pytest.mark.parametrize(("x", "v0", "without_floor"), [(7.5 * T, 12, 1.42632), (11.5 * T, 0, 0.62449)])
def test_rfs_golden_below_the_floor(x, v0, without_floor, monkeypatch) -> None:
    """The same function with a floor of 0, so that what lies under the floor is checked too."""
    monkeypatch.setattr("robotics.driving.metrics.rater.FLOOR", 0.0)
    assert rfs(np.stack([x, 0 * x], 1), RATERS, [9, 6, 3], v0)[0] == pytest.approx(without_floor, abs=1e-5)


@pytest.mark.parametrize(("v0", "limits"), [(1.4, (0.5, 0.9, 2, 3.6)), (6.2, (0.75, 1.35, 3, 5.4)), (11, (1, 1.8, 4, 7.2))])
def test_rfs_trust_region(v0, limits) -> None:
    """Just inside and just outside of every threshold; the other time is met exactly."""
    lat3, lat5, lng3, lng5 = limits
    np.testing.assert_allclose(np.concatenate(thresholds(v0)), limits)
    for row, axis, limit in ((11, 1, lat3), (19, 1, lat5), (11, 0, lng3), (19, 0, lng5)):
        for factor, inside in ((0.999, True), (1.001, False)):
            pred = RATERS[0].copy()
            pred[row, axis] += factor * limit
            assert rfs(pred, RATERS[:1], [9], v0)[1] is inside


def test_rfs_pads_short_raters_and_reads_a_standing_one() -> None:
    assert rfs(np.zeros((20, 2)), [np.zeros((1, 2))], [8], 0.0) == (8.0, True)
    off = np.full((20, 2), (0.0, 0.6))  # to the left of a standing rater: lateral, since the first direction is forward
    assert rfs(off, [np.zeros((1, 2))], [8], 0.0)[1] is False
    assert rfs(off[:, ::-1], [np.zeros((1, 2))], [8], 0.0)[1] is True


def test_rfs_refuses_wrong_shapes() -> None:
    with pytest.raises(InputError, match="score per rater"):
        rfs(np.zeros((5, 2)), RATERS, [9, 6, 3], 0)
    with pytest.raises(InputError):
        rfs(np.zeros((20, 2)), [], [], 0)


@pytest.mark.parametrize(("v0", "like"), [(0.0, 1.4), (-1.0, 1.4), (30.0, 11.0)])
def test_thresholds_saturate(v0, like) -> None:
    np.testing.assert_allclose(thresholds(v0), thresholds(like))


def slow_rfs(pred, raters, scores, v0: float) -> tuple[float, bool]:
    """The formula of the paper's evaluation, a number at a time; the list of raters is padded to three by repeating the last."""
    scale = min(max(0.5 + 0.5 * (v0 - 1.4) / (11 - 1.4), 0.5), 1.0)
    raters, scores = list(raters)[:3], list(scores)[:3]
    while len(raters) < 3:
        raters, scores = [*raters, raters[-1]], [*scores, scores[-1]]
    held = [[False, False] for _ in range(3)]
    best = [0.0, 0.0]
    for r in range(3):
        points = [(0.0, 0.0)] + [tuple(map(float, raters[r][min(k, len(raters[r]) - 1)])) for k in range(20)]
        heading = (1.0, 0.0)
        for k in range(1, 21):
            dx, dy = points[k][0] - points[k - 1][0], points[k][1] - points[k - 1][1]
            if math.hypot(dx, dy) > 0:
                heading = dx / math.hypot(dx, dy), dy / math.hypot(dx, dy)
            if k not in (12, 20):
                continue
            n = 0 if k == 12 else 1
            ox, oy = float(pred[k - 1][0]) - points[k][0], float(pred[k - 1][1]) - points[k][1]
            lng, lat = abs(ox * heading[0] + oy * heading[1]), abs(ox * -heading[1] + oy * heading[0])
            d = max(lng / (scale * (4.0, 7.2)[n]), lat / (scale * (1.0, 1.8)[n]))
            held[r][n] = d <= 1
            best[n] = max(best[n], scores[r] * 0.1 ** max(d - 1, 0))
    score, inside = sum(best) / 2, any(a and b for a, b in held)
    return (score if inside else max(4.0, score)), inside


def test_rfs_agrees_with_a_slow_twin() -> None:
    rng = np.random.default_rng(0)
    insides, floors = 0, 0
    for _ in range(400):
        raters = [np.cumsum(rng.normal((2, 0), (0.5, 0.3), (rng.integers(1, 30), 2)), axis=0) for _ in range(rng.integers(1, 5))]
        for r in raters:
            r[: rng.integers(0, 3)] = 0.0  # some stand at first
        pred = np.concatenate([raters[0], np.repeat(raters[0][-1:], 20, 0)])[:20] + rng.normal(0, rng.uniform(0, 2), (20, 2))
        scores, v0 = rng.uniform(0, 10, len(raters)), float(rng.uniform(0, 14))
        got, want = rfs(pred, raters, scores, v0), slow_rfs(pred, raters, scores, v0)
        assert got[0] == pytest.approx(want[0], abs=1e-9)
        assert got[1] == want[1]
        insides, floors = insides + want[1], floors + (want[0] == 4.0)
    assert min(insides, floors) > 20


def test_no_more_than_three_raters_count() -> None:
    off = np.stack([10 * T, 0 * T], 1)
    assert rfs(off, [RATERS[2]] * 3 + [off], [3, 3, 3, 10], 12) == (4.0, False)
    assert rfs(off, [RATERS[2]] * 2 + [off], [3, 3, 10], 12) == (10.0, True)


@pytest.mark.parametrize(
    ("rater", "score"), [(np.zeros((0, 2)), 5), (np.zeros((20, 3)), 5), (np.full((20, 2), np.nan), 5), (RATERS[0], -1)]
)
def test_unrated_frames_are_refused(rater, score) -> None:
    with pytest.raises(InputError, match="leave it out"):
        rfs(np.zeros((20, 2)), [rater], [score], 5)


def test_ade_is_measured_against_the_best_rated() -> None:
    best = best_rated([RATERS[1], RATERS[0], RATERS[2]], [6, 9, 9])
    np.testing.assert_allclose(best, RATERS[0])
    assert ade(RATERS[1], best, 3, grid_s=0.25) == pytest.approx(5 * T[:12].mean())
    np.testing.assert_allclose(best_rated([[(1.0, 2.0)]], [5]), np.full((20, 2), (1.0, 2.0)))


def test_the_leaderboard_averages_clusters_not_frames() -> None:
    clusters = [*CLUSTERS, *["spotlight"] * 9]
    scores = [8.0] * 11 + [4.0] * 9
    mean, each = cluster_mean(scores, clusters)
    assert each["spotlight"] == pytest.approx(4.4)
    assert mean == pytest.approx((10 * 8 + 4.4) / 11)
    with pytest.raises(InputError, match="construction"):
        cluster_mean(scores[1:], clusters[1:])
    with pytest.raises(InputError, match="spotlight"):
        cluster_mean([5.0], ["spotligt"])


POINT = st.tuples(st.floats(-150, 150), st.floats(-150, 150))
PATH = st.lists(POINT, min_size=1, max_size=25)
RATED = st.lists(st.tuples(PATH, st.floats(0, 10)), min_size=1, max_size=4)


@given(st.lists(POINT, min_size=20, max_size=20), RATED, st.floats(0, 40))
@settings(max_examples=150 if os.environ.get("EDGE_CASES") == "small" else 3000, deadline=None)
def test_rfs_stays_within_its_bounds(pred, rated, v0) -> None:
    """Outside at least the floor, and never above the best label unless the floor is."""
    raters, scores = zip(*rated, strict=True)
    score, inside = rfs(pred, raters, scores, v0)
    assert 0 <= score <= 10
    assert score <= max(*scores[:3], 4.0)
    assert inside or score >= 4.0
    best = max(range(len(scores[:3])), key=lambda k: scores[k])
    own = (list(raters[best]) + [raters[best][-1]] * 20)[:20]
    assert rfs(own, raters, scores, v0) == (pytest.approx(scores[best]), True)
