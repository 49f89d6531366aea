"""The small network of a reference path: what it computes, what it learns, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from robotics.driving.coding import TrajectoryCoding
from robotics.driving.path_net import SECONDS, PathNet, fit, motion_features
from robotics.driving.prompt import EgoHistory


def history(speed: float, accel: float = 0.0, drift: float = 0.0) -> EgoHistory:
    t = np.arange(-4, 1) * 0.5
    points = [{"x_m": speed * s + accel * s * s / 2, "y_m": drift * s, "v_mps": max(speed + accel * s, 0.0)} for s in t]
    return EgoHistory.read({"points": points})


def drawn(f: int = 3, h: int = 4, seed: int = 0) -> PathNet:
    rng = np.random.default_rng(seed)

    def rows(n: int, m: int) -> tuple[tuple[float, ...], ...]:
        return tuple(map(tuple, rng.normal(size=(n, m)).tolist()))

    numbers = {"mean": rows(1, f)[0], "scale": tuple(rng.uniform(0.5, 2, f).tolist()), "hidden": rows(f, h)}
    numbers |= {"hidden_bias": rows(1, h)[0], "out": rows(h, 10), "out_bias": rows(1, 10)[0], "straight": rows(f, 10)}
    return PathNet.model_validate(numbers)


def test_it_computes_what_torch_computes() -> None:
    net, x = drawn(), np.random.default_rng(1).normal(size=(50, 3)) * 3

    def t(name: str) -> torch.Tensor:
        return torch.tensor(getattr(net, name), dtype=torch.float64)

    z = ((torch.tensor(x) - t("mean")) / t("scale")).clamp(-4, 4)
    hidden = torch.nn.functional.silu(z @ t("hidden") + t("hidden_bias"))
    slow = (hidden @ t("out") + t("out_bias") + z @ t("straight")).view(-1, 5, 2) * torch.tensor(SECONDS)[:, None]
    np.testing.assert_allclose(net(x), slow.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(net(x[7]), net(x)[7], rtol=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_features_count_up_to_four_deviations(values) -> None:
    net = drawn()
    mean, scale = np.array(net.mean), np.array(net.scale)
    held = mean + np.clip((np.array(values) - mean) / scale, -4, 4) * scale
    out = net(values)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, net(held), atol=1e-8)


def test_a_fit_follows_a_bend_and_is_the_same_again() -> None:
    """Vehicles faster than 10 m/s slow down, others do not: no straight line says that."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 20, (600, 1))
    y = np.zeros((600, 5, 2))
    y[:, :, 0] = -0.5 * np.maximum(x - 10, 0) * SECONDS
    net = fit(x, y, steps=300, noise=0.0)
    at = np.array([[2.0], [8.0], [15.0], [19.0]])
    np.testing.assert_allclose(net(at)[:, -1, 0], [0, 0, -12.5, -22.5], atol=1.5)
    assert np.abs(net(at)[..., 1]).max() < 0.5
    assert fit(x, y, steps=300, noise=0.0) == net
    assert fit(x, y, steps=300, noise=0.0, seed=1) != net


def test_a_fit_keeps_to_the_middle_and_follows_the_weights() -> None:
    x, y = np.zeros((100, 1)), np.zeros((100, 5, 2))
    y[:30, :, 0] = 40.0
    assert fit(x, y, steps=200)(x[:1])[0, :, 0].max() < 6  # the mean would be 12
    weights = np.r_[np.full(30, 10.0), np.ones(70)]
    assert fit(x, y, weights, steps=400)(x[:1])[0, 1:, 0].min() > 30


def test_motion_in_numbers() -> None:
    still = motion_features(history(10.0), "GO_STRAIGHT")
    assert still.shape == (20,)
    np.testing.assert_allclose(still[3:], 0, atol=1e-12)  # nothing but the speed says anything about constant velocity
    assert np.abs(motion_features(history(10.0, 1.0), "GO_STRAIGHT") - still).max() > 0.5
    left, right = (motion_features(history(10.0), c) for c in ("GO_LEFT", "GO_RIGHT"))
    assert not np.array_equal(left, right)


@given(st.lists(st.tuples(st.floats(-150, 150), st.floats(-50, 50)), min_size=5, max_size=5), st.floats(0, 30), st.floats(-2, 2))
def test_coding_round_trip(waypoints, speed, accel) -> None:
    coding = TrajectoryCoding(kind="network-offset", network=drawn(20), resolution_m=0.5)
    coding = TrajectoryCoding.model_validate_json(coding.model_dump_json())
    h = history(speed, accel)
    coded = coding.encode(waypoints, h, "GO_LEFT")
    np.testing.assert_allclose(coding.decode(coded, h, "GO_LEFT"), waypoints, atol=0.25 + 1e-9)


def test_what_does_not_fit_is_refused() -> None:
    numbers = drawn().model_dump()
    for name, value in (("hidden", numbers["hidden"][:2]), ("scale", (1.0, 1.0)), ("scale", (1.0, 0.0, 1.0)), ("out_bias", (0.0,))):
        with pytest.raises(ValidationError, match="holds"):
            PathNet.model_validate(numbers | {name: value})
    with pytest.raises(ValidationError, match="comes with a network"):
        TrajectoryCoding(kind="network-offset")
    with pytest.raises(ValidationError, match="comes with a network"):
        TrajectoryCoding(kind="cv-offset", network=drawn(20))
