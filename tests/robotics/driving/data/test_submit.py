"""From shards to the archive, through the shipped planner."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.cli.main import run
from edge.cli.zoo import NANO_PLANNER
from robotics.driving.data import wod
from robotics.driving.data.request import request_of
from robotics.driving.data.submission import read_submission
from robotics.driving.data.tfrecord import framed
from robotics.driving.planner import Planner
from tests.robotics.driving.data.made_wod import SPEED, e2ed_frame

INFO = 'account_name = "a@b.org"\nunique_method_name = "m"\nuses_public_model_pretraining = false\nnum_model_parameters = "8M"\n'


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two frames of a test set, one with a broken picture, and a broken record between them."""
    src = tmp_path / "src"
    src.mkdir()
    good, dark = e2ed_frame("good-001", future=False, intent=2), e2ed_frame("dark-001", future=False)
    dark.frame.images[0].image = b"dark"
    parts = [framed(good.SerializeToString()), framed(b"\xff"), framed(dark.SerializeToString())]
    (src / "test.tfrecord-00000-of-00001").write_bytes(b"".join(parts))
    (tmp_path / "info.toml").write_text(INFO)
    return tmp_path


def submit(files: Path, *more: str) -> int:
    return run(["drive", "submit", str(files / "src"), "--info", str(files / "info.toml"), "--out", str(files / "s.tar.gz"), *more])


def test_every_frame_has_its_entry(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert submit(files) == 0
    info, found = read_submission(files / "s.tar.gz")
    assert (info.num_model_parameters, set(found)) == ("8M", {"good-001", "dark-001"})
    frame = next(f for f in wod.frames(files / "src" / "test.tfrecord-00000-of-00001") if isinstance(f, wod.E2EFrame))
    planner, request = Planner.load(NANO_PLANNER), request_of(wod.scene(frame))
    plan = planner.plan(request.images(planner.config.image_size), request.history, request.command)
    np.testing.assert_allclose(found["good-001"][3::4], plan.waypoints, atol=1e-4)  # at 1, 2, .. 5 s
    np.testing.assert_allclose(found["dark-001"], np.stack([SPEED * np.arange(1, 21) / 4, np.zeros(20)], 1), atol=1e-4)
    err = capfd.readouterr().err
    assert "not an E2EDFrame" in err
    assert "dark-001: constant velocity: camera picture is broken" in err
    assert "wrote 2 predictions" in err


def test_wanted_frames_that_are_missing_are_an_error(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (files / "frames.json").write_text(json.dumps(["dark-001", "gone-001"]))
    assert submit(files, "--frames", str(files / "frames.json")) == 3
    assert list(read_submission(files / "s.tar.gz")[1]) == ["dark-001"]
    assert "gone-001: wanted, and not in the files" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "info.toml").write_text(INFO.replace("8M", "8 M")), "num_model_parameters"),
        (lambda f: (f / "info.toml").unlink(), "no such file"),
        (lambda f: (f / "src" / "test.tfrecord-00000-of-00001").unlink(), "got none"),
    ],
)
def test_refusals(files: Path, capfd: pytest.CaptureFixture[str], change, says: str) -> None:
    change(files)
    assert submit(files) == 2
    assert says in capfd.readouterr().err


def test_a_list_of_frames_that_is_none(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (files / "frames.json").write_text('{"frames": []}')
    assert submit(files, "--frames", str(files / "frames.json")) == 2
    assert "must be a list of frame names" in capfd.readouterr().err
