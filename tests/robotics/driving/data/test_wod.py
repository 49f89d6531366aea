"""WOD-E2E frames written in the official layout and read back: fields, frames of reference, refusals, the submission."""

from __future__ import annotations

import contextlib
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from edge.core.errors import InputError
from robotics.driving.damage import Damage
from robotics.driving.data import wod
from robotics.driving.data.motion import headings
from robotics.driving.data.request import request_of
from robotics.driving.data.submission import SubmissionInfo, read_submission, resampled, write_submission
from robotics.driving.data.tfrecord import framed
from robotics.driving.data.wod_proto import message
from robotics.driving.labels import Labeller, command_of
from robotics.driving.picture import draw_plan
from robotics.driving.scene import Scene
from robotics.driving.windows import candidates, mirror, windows
from tests.robotics.driving.data.made_wod import ACCEL, SPEED, e2ed_frame, position, shard

CASES = 40 if os.environ.get("EDGE_CASES") == "small" else 1000


def test_the_wire_form_is_that_of_the_official_numbers() -> None:
    """Written out by hand from the .proto: field 7 (intent) as a varint, field 6.1 (past pos_x) as packed floats."""
    made = message("E2EDFrame")(intent=3)
    made.past_states.pos_x.append(1.0)
    assert made.SerializeToString() == bytes([6 << 3 | 2, 6, 1 << 3 | 2, 4, 0, 0, 0x80, 0x3F, 7 << 3 | 0, 3])
    image = message("CameraImage")(name=2, image=b"x")
    assert image.SerializeToString() == bytes([1 << 3, 2, 2 << 3 | 2, 1, ord("x")])


def test_unknown_fields_are_skipped() -> None:
    """Fields that the end-to-end set leaves empty, or that are newer than this reader."""
    raw = e2ed_frame().SerializeToString() + bytes([99 << 3 & 0x7F | 0x80, 99 >> 4, 5])  # field 99 = 5
    assert wod.parse(raw).name == "segment-007"


def test_the_descriptor_pool_is_private() -> None:
    with pytest.raises(KeyError):
        descriptor_pb2.DESCRIPTOR.pool.FindMessageTypeByName("waymo.open_dataset.E2EDFrame")


def test_round_trip(tmp_path: Path) -> None:
    made = e2ed_frame(rated=True, turn=3.0, intent=2)
    (read,) = wod.frames(shard(tmp_path / "val.tfrecord-00000-of-00001", [made]))
    assert isinstance(read, wod.E2EFrame)
    assert (read.name, read.timestamp_us, read.intent) == ("segment-007", 1_700_000_000_000_000, "GO_LEFT")
    np.testing.assert_allclose(read.past[:, :2], position(np.arange(-15, 1) / 4), atol=1e-5)
    np.testing.assert_allclose(read.past[:, 2], SPEED + ACCEL * np.arange(-15, 1) / 4, atol=1e-6)
    assert read.future is not None
    np.testing.assert_allclose(read.future[-1], [SPEED * 5 + 12.5 * ACCEL, 3.0], atol=1e-5)
    assert [s for _, s in read.rated] == [9.0, 6.0]  # -1 is unrated
    np.testing.assert_allclose(read.rated[0][0][:, 0], 8.0 * np.arange(1, 21) / 4)
    assert read.jpegs["front_left"] == made.frame.images[1].image
    assert set(read.jpegs) == set(read.calibrations)
    assert len(read.jpegs) == 8
    assert read.calibrations["front"].intrinsic[:4] == (50, 50, 32, 24)
    np.testing.assert_array_equal(read.calibrations["front"].extrinsic, np.eye(4))


def scene_of(frame) -> Scene:
    return wod.scene(wod.parse(frame.SerializeToString()))


def test_scene_keeps_recorded_points_and_cubics_between_them() -> None:
    """Of constant acceleration every interpolation here is exact; at the set's own times it is so for any motion."""
    (w,) = windows(scene_of(e2ed_frame()))
    np.testing.assert_allclose(w.history, position(np.arange(-20, 1) / 10), atol=1e-4)
    np.testing.assert_allclose(w.future, position(np.arange(1, 51) / 10), atol=1e-4)
    curved = e2ed_frame(turn=8.0)
    (w,) = windows(scene_of(curved))
    np.testing.assert_allclose(w.future[4::5, 0], np.array(curved.future_states.pos_x)[1::2], atol=1e-4)
    np.testing.assert_allclose(w.future[4::5, 1], np.array(curved.future_states.pos_y)[1::2], atol=1e-4)
    assert w.name == "segment:007"
    assert w.scene.ego is not None
    assert w.scene.ego.stamp_ns == 1_700_000_000_000_000_000


def test_the_past_does_not_know_the_future() -> None:
    one, other = scene_of(e2ed_frame(turn=0.0)), scene_of(e2ed_frame(turn=9.0))
    np.testing.assert_array_equal(one.tracks[0].xy[:21], other.tracks[0].xy[:21])
    np.testing.assert_array_equal(one.tracks[0].yaw[:21], other.tracks[0].yaw[:21])
    np.testing.assert_array_equal(one.tracks[0].speed[:21], other.tracks[0].speed[:21])


def test_pictures_come_in_the_planners_order_and_size() -> None:
    scene = scene_of(e2ed_frame())
    assert scene.ego is not None
    seen = scene.ego.cameras.images((28, 56))
    assert seen.shape == (3, 28, 56, 3)
    assert [round(float(v) / 25) for v in seen[:, 14, 28, 0]] == [2, 1, 3]  # FRONT_LEFT, FRONT, FRONT_RIGHT


def test_reversing_is_no_turn_and_no_window() -> None:
    """A vehicle that backs up keeps its heading, and its speed is negative."""
    frame = e2ed_frame()
    for states, n in ((frame.past_states, 16), (frame.future_states, 20)):
        for key in ("pos_x", "vel_x", "accel_x"):
            column = getattr(states, key)
            column[:] = [-v / 4 for v in column]
        assert len(states.pos_x) == n
    scene = scene_of(frame)
    np.testing.assert_allclose(scene.tracks[0].yaw, 0, atol=1e-6)
    assert scene.tracks[0].speed.max() < 0
    assert [why for _, _, why in candidates(scene)] == ["the ego drives backwards"]


def test_headings_follow_the_path_through_a_stop() -> None:
    """Left turn, a stop, and on: the heading waits, and goes on from there."""
    angle = np.concatenate([np.linspace(-0.6, 0.0, 7), np.zeros(5), np.linspace(0.0, 2.4, 9)])
    speed = np.where((np.arange(21) > 6) & (np.arange(21) < 12), 0.0, 5.0)
    v = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(headings(v, known=0.0, where=8), angle, atol=1e-9)


def test_what_boxes_would_tell_is_absent() -> None:
    scene = scene_of(e2ed_frame(turn=9.0, intent=2))
    (w,) = windows(scene)
    labeller = Labeller(scene)
    assert labeller.absent() == ("critical_objects", "explanation")
    labels = labeller.label(w)
    assert (labels.critical_objects, labels.explanation) == (frozenset(), "")
    assert (labels.longitudinal, command_of(w)) == ("accelerate", "GO_LEFT")


def test_unknown_intent_is_read_from_the_future() -> None:
    (w,) = windows(scene_of(e2ed_frame(intent=0, turn=25.0)))
    assert command_of(w) == "GO_LEFT"


def test_the_test_set_has_no_window_but_a_request() -> None:
    scene = scene_of(e2ed_frame(future=False, intent=3))
    assert list(windows(scene)) == []
    request = request_of(scene)
    assert (request.name, request.command) == ("segment:007", "GO_RIGHT")
    np.testing.assert_allclose(request.history.xy(), position(np.arange(-4, 1) / 2), atol=1e-4)
    assert request.images((14, 14)).shape == (3, 14, 14, 3)
    assert request_of(scene_of(e2ed_frame(future=False, intent=0))).command == "GO_STRAIGHT"


def test_mirrored() -> None:
    scene = scene_of(e2ed_frame(turn=9.0, intent=2, rated=True))
    flipped = mirror(scene)
    assert scene.ego is not None
    assert flipped.ego is not None
    np.testing.assert_array_equal(flipped.ego.cameras.images((8, 8)), scene.ego.cameras.images((8, 8))[::-1, :, ::-1])
    assert flipped.ego.command == "GO_RIGHT"
    assert not flipped.boxes
    (a,), (b,) = windows(scene), windows(flipped)
    np.testing.assert_allclose(a.future * (1, -1), b.future, atol=1e-6)
    assert a.name != b.name


def test_a_picture_of_a_frame(tmp_path: Path) -> None:
    """Its own cameras, and no road around."""
    (w,) = windows(scene_of(e2ed_frame(turn=9.0)))
    path = draw_plan(w, w.future[9::10], tmp_path / "plan.png")
    assert np.asarray(Image.open(path)).std() > 10


# --- damage -----------------------------------------------------------------------------------------------------------------


def broken(change) -> str:
    frame = e2ed_frame()
    change(frame)
    with pytest.raises(InputError) as error:
        wod.scene(wod.parse(frame.SerializeToString()))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_frames_that_lack_something_say_what() -> None:
    assert "no name" in broken(lambda f: f.frame.context.ClearField("name"))
    assert "past states must be 16: segment-007: got 0" in broken(lambda f: f.ClearField("past_states"))
    assert "differ in length" in broken(lambda f: f.past_states.vel_x.pop())
    assert "future states must be 20" in broken(lambda f: (f.future_states.pos_x.pop(), f.future_states.pos_y.pop()))
    assert "not finite: segment-007: point 3" in broken(lambda f: f.past_states.pos_x.__setitem__(3, float("nan")))
    assert "out of range: segment-007: 1e+09" in broken(lambda f: f.past_states.pos_x.__setitem__(3, 1e9))
    assert "end at the origin" in broken(lambda f: f.past_states.pos_x.__setitem__(15, 2.0))
    assert "camera is missing: segment-007: front_left" in broken(lambda f: f.frame.images.pop(1))
    assert "got number 12" in broken(lambda f: setattr(f.frame.images[0], "name", 12))
    assert "intent is not one of" in broken(lambda f: setattr(f, "intent", 9))
    assert "0 to 10" in broken(lambda f: f.preference_trajectories.add(preference_score=11, pos_x=[1], pos_y=[1]))
    assert "9 and 16 numbers" in broken(lambda f: f.frame.context.camera_calibrations[0].intrinsic.pop())


def test_a_broken_picture_is_found_when_it_is_looked_at() -> None:
    frame = e2ed_frame()
    frame.frame.images[1].image = frame.frame.images[1].image[:200]
    scene = scene_of(frame)
    assert scene.ego is not None
    with pytest.raises(InputError, match="camera picture is broken: segment-007: front_left"):
        scene.ego.cameras.images((28, 28))
    frame.frame.images[1].image = b""
    again = scene_of(frame)
    assert again.ego is not None
    with pytest.raises(InputError, match="holds no bytes"):
        again.ego.cameras.images((28, 28))


def test_damage_is_told_with_its_offset_and_reading_goes_on(tmp_path: Path) -> None:
    good, other = e2ed_frame("a-1").SerializeToString(), e2ed_frame("b-2").SerializeToString()
    foreign = b"\xff no protobuf"
    path = tmp_path / "training.tfrecord-00000-of-00001"
    path.write_bytes(framed(good) + framed(foreign) + framed(b"") + framed(other) + framed(good)[:-2])
    found = list(wod.scenes(path))
    at = len(framed(good))
    assert [f.name for f in found if isinstance(f, Scene)] == ["a", "b"]
    texts = [str(f) for f in found if isinstance(f, Damage)]
    assert len(texts) == 3
    assert texts[0].startswith(f"{path.name}@{at}: not an E2EDFrame")
    assert texts[1].startswith(f"{path.name}@{at + len(framed(foreign))}: frame has no name")
    assert "cut short" in texts[2]


@settings(deadline=None, max_examples=CASES)
@given(st.integers(0, 2**32), st.integers(1, 6), st.booleans())
def test_garbled_messages_are_frames_or_are_refused(seed: int, flips: int, cut: bool) -> None:
    """Bits flipped in a record whose checksum was right: a frame that keeps the rules, or an InputError, and nothing else."""
    rng = np.random.default_rng(seed)
    raw = bytearray(e2ed_frame(rated=True).SerializeToString())
    for at in rng.integers(0, len(raw), flips):
        raw[at] ^= 1 << int(rng.integers(8))
    refused = ""
    try:
        scene = wod.scene(wod.parse(bytes(raw[: int(rng.integers(len(raw)))] if cut else raw)))
    except InputError as e:
        refused = str(e)
    assert not refused or ":" in refused
    if refused:
        return
    assert np.isfinite(scene.tracks[0].xy).all()
    assert scene.ego is not None
    with contextlib.suppress(InputError):  # and no other error, for a picture that is garbled
        assert scene.ego.cameras.images((8, 8)).shape == (3, 8, 8, 3)


# --- submission -------------------------------------------------------------------------------------------------------------

INFO = SubmissionInfo(
    account_name="a@b.org",
    unique_method_name="m",
    uses_public_model_pretraining=False,
    num_model_parameters="8M",
    authors=("A", "B"),
)


def test_submission_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = {f"frame-{n}": np.cumsum(rng.uniform(0, 3, (20, 2)), axis=0) for n in range(7)}
    path = write_submission(tmp_path / "out" / "s.tar.gz", INFO, made, shards=3)
    info, read = read_submission(path)
    assert info == INFO
    assert list(read) == list(made)
    for name, xy in made.items():
        np.testing.assert_allclose(read[name], xy, rtol=1e-6)
    with tarfile.open(path) as tar:
        assert tar.getnames() == [f"mysubmission.binproto-{n:05d}-of-00003" for n in range(3)]
        raw = tar.extractfile("mysubmission.binproto-00001-of-00003")
        assert raw is not None
        one = message("E2EDChallengeSubmission").FromString(raw.read())
    assert (one.submission_type, len(one.predictions), one.HasField("uses_public_model_pretraining")) == (1, 2, True)
    assert write_submission(tmp_path / "t.tar.gz", INFO, made, shards=3).read_bytes() == path.read_bytes()


def test_waypoints_become_twenty_points() -> None:
    t = np.arange(1, 21) / 4
    points = position(np.arange(1.0, 6.0))
    np.testing.assert_allclose(resampled(points, [SPEED, 0.0]), position(t), atol=1e-9)
    np.testing.assert_allclose(resampled(points, [0.0, 0.0])[3::4], points, atol=1e-9)  # through the waypoints in any case


def test_submission_refusals(tmp_path: Path) -> None:
    for bad in (np.zeros((5, 2)), np.full((20, 2), np.nan)):
        with pytest.raises(InputError, match="20 finite points"):
            write_submission(tmp_path / "a", INFO, {"x": bad})
    with pytest.raises(InputError, match="got none"):
        write_submission(tmp_path / "a", INFO, {})
    with pytest.raises(InputError, match="shards"):
        write_submission(tmp_path / "a", INFO, {"x": np.zeros((20, 2))}, shards=2)
    for field, value in (("account_name", "me"), ("num_model_parameters", "8 million"), ("unique_method_name", "")):
        with pytest.raises(ValidationError, match=field):
            SubmissionInfo.model_validate(INFO.model_dump() | {field: value})
    with pytest.raises(ValidationError, match="uses_public_model_pretraining"):
        SubmissionInfo.model_validate({k: v for k, v in INFO.model_dump().items() if k != "uses_public_model_pretraining"})
    (tmp_path / "none").write_bytes(b"no tar")
    with pytest.raises(InputError, match="not a submission"):
        read_submission(tmp_path / "none")
