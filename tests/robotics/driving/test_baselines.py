"""Baselines on motions they describe exactly, and the published table where the recorded data is present."""

import os

import numpy as np
import pytest

from robotics.driving import baselines as b
from robotics.driving.metrics import ade, fde

T = np.arange(-20, 51) * 0.1


def test_constant_velocity_is_exact_on_a_straight_line() -> None:
    line = T[:, None] * np.array([12.0, -0.5])
    points = b.past(line[:21])
    np.testing.assert_allclose(points[:, 0], [-24, -18, -12, -6, 0])
    np.testing.assert_allclose(b.constant_velocity(b.velocity(points)), line[25::5], atol=1e-9)


def test_constant_turn_follows_a_circle() -> None:
    angle = 0.2 * T
    circle = 50 * np.stack([np.sin(angle), 1 - np.cos(angle)], 1)  # 10 m/s, 0.2 rad/s
    got = b.constant_turn_and_acceleration(b.past(circle[:21])[None])[0]
    assert np.abs(got - circle[25::5]).max() < 3.0  # the heading is that of 0.25 s ago: 2.5 degrees over 50 m
    assert np.abs(b.constant_velocity(b.velocity(b.past(circle[:21]))) - circle[25::5]).max() > 10


def test_braking_never_reverses() -> None:
    points = np.stack([np.array([-9.0, -6.0, -3.5, -1.5, 0.0]), np.zeros(5)], 1)  # 4 m/s, then 3 m/s: -2 m/s2
    x = b.constant_turn_and_acceleration(points)[:, 0]
    assert (np.diff(x) >= 0).all()
    assert x[-1] == pytest.approx(x[3])


def test_stop_stays() -> None:
    assert not b.stop(np.ones((3, 5, 2))).any()
    assert b.stop(np.ones((3, 5, 2))).shape == (3, 10, 2)


def test_ridge_finds_a_linear_map_and_shrinks() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(0, 5, (200, 5, 2))
    points[:, -1] = 0
    future = b.constant_velocity(b.velocity(points)) + 1.0
    np.testing.assert_allclose(b.Ridge.fit(points, future, 1e-9)(points), future, atol=1e-6)
    assert np.abs(b.Ridge.fit(points, future, 1e9).weights[:-1]).max() < 1e-3


TABLE = {  # site: baseline: ADE 3 s, ADE 5 s, FDE 5 s on the 732 windows of `val`
    "US101": {"cv": (1.35, 2.67, 5.97), "ctra": (2.24, 5.14, 12.66), "ridge": (1.30, 2.56, 5.71)},
    "Lanker": {"cv": (2.59, 5.86, 14.18), "ctra": (2.44, 5.86, 14.82), "ridge": (1.79, 3.93, 9.44)},
}


@pytest.mark.skipif("EDGE_DATA" not in os.environ, reason="needs the recorded data: set EDGE_DATA to the npz file")
def test_the_published_table() -> None:
    from robotics.driving.recorded import load_recorded
    from robotics.driving.windows import windows

    data = load_recorded(os.environ["EDGE_DATA"])
    for site, rows in TABLE.items():
        both = {}
        for split in ("train", "val"):
            scenes = [data.scene(n) for n in data.names(split) if site in n]
            ws = [w for scene in scenes for w in windows(scene)]
            both[split] = b.past(np.stack([w.history for w in ws])), np.stack([w.future for w in ws])[:, 4::5]
        points, truth = both["val"]
        pred = {
            "cv": b.constant_velocity(b.velocity(points)),
            "ctra": b.constant_turn_and_acceleration(points),
            "ridge": b.Ridge.fit(*both["train"])(points),
        }
        for name, want in rows.items():
            got = (ade(pred[name], truth, 3).mean(), ade(pred[name], truth).mean(), fde(pred[name], truth).mean())
            np.testing.assert_allclose(got, want, atol=0.0051, err_msg=f"{site} {name}")
