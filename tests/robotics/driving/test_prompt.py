"""The prompt's form, the derived motion, and histories that cannot be used."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.prompt import IMAGE, TASK, EgoHistory, history_of, prompt_text, slope
from robotics.driving.scene import Scene, Track, Window, to_ego, wrap

FORM = re.compile(
    re.escape(f"{TASK}\n{IMAGE}\n")
    + r"GO_(STRAIGHT|LEFT|RIGHT) speed \d\d\.\d\d mean \d\d\.\d\d accel [+-]\d\.\d\d [+-]\d\.\d\d yaw [+-]\d\.\d\d"
    + r"(\n[+-]\d\d\.\d [+-]\d\d\.\d\d \d\d\.\d){4}"
)


def arc(speed: float, yaw_rate: float, accel: float = 0.0, noise: float = 0.0, recorded_speed: float | None = None) -> Window:
    """A window of a vehicle on an arc, 71 steps at 10 Hz, the present at step 20."""
    t = (np.arange(71) - 20) * 0.1
    s, yaw = speed * t + 0.5 * accel * t**2, yaw_rate * t
    fine = np.cumsum(np.concatenate([[0], np.diff(s)])[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], 1), axis=0)
    xy = (fine - fine[20] + np.random.default_rng(0).normal(0, noise, fine.shape)).astype(np.float32)
    v = np.full(71, speed if recorded_speed is None else recorded_speed, np.float32)
    scene = Scene("arc", "test", (), {1: Track(1, 0, xy, yaw.astype(np.float32), v, 4.5, 1.9)})
    ego = to_ego(xy, (float(xy[20, 0]), float(xy[20, 1]), 0.0))
    return Window(scene, 1, 20, ego[:21], wrap(yaw[:21]), v[:21], ego[21:], wrap(yaw[21:]))


def as_dict(**change) -> dict:
    points = [{"x_m": 7.0 * k, "y_m": 0.0, "v_mps": 14.0} for k in (-4, -3, -2, -1, 0)]
    return {"points": points} | change


@given(st.floats(0, 45), st.floats(-0.5, 0.5), st.floats(-5, 3))
def test_the_form_is_constant(speed, yaw_rate, accel) -> None:
    text = prompt_text(history_of(arc(speed, yaw_rate, accel)), "GO_LEFT")
    assert FORM.fullmatch(text)
    assert text.count(IMAGE) == 1
    assert "-0.00" not in text
    assert "-00.0 " not in text


def test_short_enough() -> None:
    """Under 150 tokens where a word, a space before a number, a digit, a sign and a point are one each."""
    text = prompt_text(history_of(arc(14.0, 0.1)), "GO_STRAIGHT")
    assert len(re.findall(r" ?[A-Za-z]+|[\d.+\-,_<>:\n]| ", text)) < 150


def test_motion_is_found_under_noise() -> None:
    accel, lateral, yaw_rate = history_of(arc(12.0, 0.2, accel=1.5, noise=0.02)).motion()
    assert accel == pytest.approx(1.5, abs=0.4)
    assert yaw_rate == pytest.approx(0.2, abs=1e-3)
    assert lateral == pytest.approx(2.4, abs=0.3)


def test_motion_left_out_comes_from_the_points() -> None:
    full = history_of(arc(12.0, 0.2, accel=1.5))
    bare = EgoHistory(points=full.points)
    np.testing.assert_allclose(bare.motion(), full.motion(), atol=0.15)
    assert EgoHistory.read(as_dict(accel_mps2=-2.0)).motion() == (-2.0, 0.0, 0.0)


def test_the_future_does_not_leak_through_recorded_speeds() -> None:
    """Speeds of a recording may be smoothed over future points: the prompt must not change with them."""
    assert history_of(arc(12.0, 0.0, recorded_speed=99.0)) == history_of(arc(12.0, 0.0))


def test_a_standing_vehicle_has_no_yaw_rate() -> None:
    assert history_of(arc(0.0, 0.4)).motion() == pytest.approx((0.0, 0.0, 0.0))


def test_slope() -> None:
    assert slope(np.array([1.0, 2.0, 3.0]), 0.5) == pytest.approx(2.0)


def test_velocity_is_the_mean_of_the_last_half_second() -> None:
    np.testing.assert_allclose(EgoHistory.read(as_dict()).velocity_mps(), [14.0, 0.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": as_dict()["points"][:4]}, "points"),
        ({"points": [*as_dict()["points"][:4], {"x_m": float("nan"), "y_m": 0, "v_mps": 1}]}, r"points\.4\.x_m.*finite"),
        ({"points": [*as_dict()["points"][:4], {"x_m": 0, "y_m": 0, "v_mps": float("inf")}]}, "v_mps"),
        ({"points": [*as_dict()["points"][:4], {"x_m": 0, "y_m": 0, "v_mps": -1}]}, "v_mps"),
        ({"points": [*as_dict()["points"][:4], {"x_m": 512.0, "y_m": 9.0, "v_mps": 1}]}, "origin"),
        ({"points": [{"x_m": -900.0, "y_m": 0, "v_mps": 14}, *as_dict()["points"][1:]]}, "check dt_s and units"),
        ({"points": [{"x_m": -9.0, "y_m": 0, "v_mps": 140}, *as_dict()["points"][1:]]}, "check the unit"),
        ({"dt_s": 0.1}, "dt_s"),
        ({"speed": 3}, "speed"),
        ({"yaw_rate_radps": float("nan")}, "yaw_rate"),
    ],
)
def test_unusable_histories_are_refused_in_one_line(change, words) -> None:
    with pytest.raises(InputError, match=words) as e:
        EgoHistory.read(as_dict() | change)
    assert "\n" not in str(e.value)


def test_an_unknown_command_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'GO_LEFT'"):
        prompt_text(EgoHistory.read(as_dict()), "GO_LEF")


def test_extreme_motion_is_written_as_the_limit() -> None:
    assert "accel -9.99 +9.99 yaw" in prompt_text(EgoHistory.read(as_dict(accel_mps2=-40, lateral_accel_mps2=12)), "GO_LEFT")
