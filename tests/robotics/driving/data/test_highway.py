"""Episodes of highway-env's own environments as scenes."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.errors import UnknownNameError
from robotics.driving.data.highway import ENVIRONMENTS, episode
from robotics.driving.scene import Scene, to_ego
from robotics.driving.windows import windows


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def scene(request: pytest.FixtureRequest) -> Scene:
    return episode(request.param, seed=5, seconds=8.0)


def test_every_environment_gives_windows_that_look_like_driving(scene: Scene) -> None:
    found = list(windows(scene))
    assert found, scene.name
    for track in scene.tracks.values():
        moved = np.linalg.norm(np.diff(track.xy, axis=0), axis=1) / 0.1
        assert moved.max() < 45
        np.testing.assert_allclose(moved, (np.abs(track.speed[1:]) + np.abs(track.speed[:-1])) / 2, atol=1.0)  # no jumps
        heading = np.unwrap(track.yaw)
        assert np.abs(np.diff(heading)).max() < 0.35


def test_the_frame_is_right_handed(scene: Scene) -> None:
    """Vehicles move the way they head: a mirrored heading would take them sideways."""
    for w in windows(scene):
        track = scene.tracks[w.track_id]
        x, y, yaw, _ = track.state(w.step)
        ahead = to_ego(track.xy[w.step - track.first + 5], (x, y, yaw))
        assert abs(ahead[1]) <= 0.35 * abs(ahead[0]) + 0.2


def test_vehicles_drive_between_the_bounds(scene: Scene) -> None:
    """Most positions lie within 2.5 m of the middle of a lane."""
    middle = np.concatenate([(left + right) / 2 for left, right in scene.lanes])
    xy = np.concatenate([t.xy[::10] for t in scene.tracks.values()])
    nearest = np.linalg.norm(xy[:, None] - middle[None], axis=2).min(axis=1)
    assert np.mean(nearest < 2.5) > 0.95


def test_the_same_seed_gives_the_same_episode() -> None:
    a, b, other = (episode("merge-v1", seed, 8.0) for seed in (2, 2, 3))
    assert a.name == b.name == "merge-v1-2"
    for k, t in a.tracks.items():
        np.testing.assert_array_equal(t.xy, b.tracks[k].xy)
    assert any(not np.array_equal(t.xy, other.tracks[k].xy) for k, t in a.tracks.items() if k in other.tracks)


def test_unknown_environments_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'merge-v1'"):
        episode("merge-v9", 0)
