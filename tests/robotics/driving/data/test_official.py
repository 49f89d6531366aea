"""Against the publishers' own packages, where someone has installed them: they cannot be dependencies (they pin old ones).

pip install --no-deps waymo-open-dataset-tf-2-12-0==1.6.7
pip install --no-deps nuscenes-devkit==1.2.0    # and pyquaternion cachetools scikit-learn shapely pycocotools descartes fire
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from robotics.driving.data import wod
from robotics.driving.data.nuscenes import NuScenes
from robotics.driving.data.nuscenes_keyframes import Keyframe
from robotics.driving.data.submission import SubmissionInfo, write_submission
from robotics.driving.data.wod_proto import _MESSAGES, CAMERA_NAMES, INTENTS, PACKAGE, message
from tests.robotics.driving.data import made_nuscenes
from tests.robotics.driving.data.made_wod import e2ed_frame

WAYMO = "waymo_open_dataset.protos.end_to_end_driving_submission_pb2"
ABSENT = "is not installed: the reader is not compared with the publisher's; the first lines of this file say how"


def official(name: str, what: str):
    return pytest.importorskip(name, reason=f"{what} {ABSENT}", exc_type=ImportError)


def test_every_field_of_waymos_messages() -> None:
    pool = official(WAYMO, "Waymo's package").DESCRIPTOR.pool
    for name, fields in _MESSAGES.items():
        theirs, ours = pool.FindMessageTypeByName(f"{PACKAGE}.{name}"), message(name).DESCRIPTOR
        for key in fields:
            a, b = theirs.fields_by_name[key], ours.fields_by_name[key]
            kind = b.TYPE_INT32 if a.type == a.TYPE_ENUM else a.type
            assert (a.number, kind, a.is_repeated, a.is_packed) == (b.number, b.type, b.is_repeated, b.is_packed), (name, key)
    cameras = pool.FindEnumTypeByName(f"{PACKAGE}.CameraName.Name").values
    assert [c.name.lower() for c in sorted(cameras, key=lambda v: v.number)] == list(CAMERA_NAMES)
    assert tuple(v.name for v in pool.FindEnumTypeByName(f"{PACKAGE}.EgoIntent.Intent").values) == INTENTS


def test_frames_cross_over_byte_by_byte() -> None:
    official(WAYMO, "Waymo's package")
    from waymo_open_dataset.protos import end_to_end_driving_data_pb2 as theirs  # type: ignore[import-not-found]

    raw = e2ed_frame(rated=True, turn=4.0, intent=2).SerializeToString()
    frame = theirs.E2EDFrame.FromString(raw)
    assert frame.SerializeToString() == raw
    assert frame.frame.context.name == "segment-007"
    assert frame.preference_trajectories[0].preference_score == 9
    assert wod.parse(frame.SerializeToString()).intent == "GO_LEFT"


def test_submissions_cross_over(tmp_path: Path) -> None:
    theirs = official(WAYMO, "Waymo's package")
    info = SubmissionInfo(
        account_name="a@b.org", unique_method_name="m", uses_public_model_pretraining=False, num_model_parameters="8M"
    )
    with tarfile.open(write_submission(tmp_path / "s.tar.gz", info, {"x-1": np.ones((20, 2))})) as tar:
        file = tar.extractfile(tar.getnames()[0])
        assert file is not None
        raw = file.read()
    read = theirs.E2EDChallengeSubmission.FromString(raw)
    assert read.submission_type == theirs.E2EDChallengeSubmission.E2ED_SUBMISSION
    assert len(read.predictions[0].trajectory.pos_x) == 20
    assert read.SerializeToString() == raw


def test_keyframes_are_those_of_the_devkit(tmp_path: Path) -> None:
    root = made_nuscenes.write(tmp_path / "root")
    theirs = official("nuscenes.nuscenes", "nuscenes-devkit").NuScenes(version="v1.0-mini", dataroot=str(root), verbose=False)
    token, n = theirs.scene[0]["first_sample_token"], 0
    ours = [k for k in NuScenes(root).keyframes("scene-0001") if isinstance(k, Keyframe)]
    while token:
        sample, k = theirs.get("sample", token), ours[n]
        lidar = sample["data"]["LIDAR_TOP"]
        ego = theirs.get("ego_pose", theirs.get("sample_data", lidar)["ego_pose_token"])
        np.testing.assert_allclose(k.ego[:2], ego["translation"][:2])
        assert str(k.pictures["CAM_FRONT"]) == theirs.get_sample_data_path(sample["data"]["CAM_FRONT"])
        mine = {b.instance: b for b in k.boxes}
        for box in theirs.get_boxes(lidar):
            b = mine[theirs.get("sample_annotation", box.token)["instance_token"]]
            np.testing.assert_allclose(b.pose, (*box.center[:2], box.orientation.yaw_pitch_roll[0]), atol=1e-9)
            assert (b.size_m, b.category) == ((box.wlh[1], box.wlh[0]), box.name)
        token, n = sample["next"], n + 1
    assert n == len(ours) == 20
