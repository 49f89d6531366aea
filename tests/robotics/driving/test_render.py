"""The camera painter against closed form: where points fall, what hides what, what a mirror shows."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.render import RIG, Rig, project, render, road_polygons
from robotics.driving.scene import CAMERAS, Scene, Track
from robotics.driving.windows import mirror

SIZE = (112, 112)
FOCAL = 56 / np.tan(np.radians(35))


def track(
    track_id: int,
    x: float,
    y: float,
    *,
    yaw: float = 0.0,
    speed: float = 10.0,
    steps: int = 10,
    brake: float = 0.0,
    length: float = 4.5,
) -> Track:
    """Stands still in place (only its speed entry says otherwise), so that pictures at any step agree."""
    xy = np.tile(np.array([x, y], np.float32), (steps, 1))
    v = np.maximum(speed - brake * 0.1 * np.arange(steps), 0)
    return Track(track_id, 0, xy, np.full(steps, yaw, np.float32), v.astype(np.float32), length, 1.8)


def straight(lanes: int = 3, reach: float = 150.0) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Lanes 3.5 m wide along x, the middle of the second on y = 0."""
    x = np.array([-50.0, 0.0, reach], dtype=np.float32)
    edges = [np.stack([x, np.full(3, 5.25 - 3.5 * k, np.float32)], axis=1) for k in range(lanes + 1)]
    return tuple(pairwise(edges))


def scene(*others: Track, name: str = "made", lanes: tuple = straight()) -> Scene:
    return Scene(name, "made", lanes, {t.track_id: t for t in (track(0, 0, 0), *others)})


def changed(*others: Track, camera: str = "front", size: tuple[int, int] = SIZE) -> np.ndarray:
    """[H, W] whether a pixel differs from the picture without `others`."""
    k = CAMERAS.index(camera)
    a, b = render(scene(), 5, 0, size)[k], render(scene(*others), 5, 0, size)[k]
    return np.abs(a.astype(int) - b).max(axis=2) > 12


# --- projection -------------------------------------------------------------------------------------------------------------


def test_points_ahead_fall_on_the_centre_column() -> None:
    uv, ahead = project(np.array([(10.0, 0, 0), (40.0, 0, 0), (10.0, 0, RIG.height_m)]), "front", SIZE)
    assert ahead.all()
    np.testing.assert_allclose(uv[:, 0], 55.5, atol=1e-4)
    np.testing.assert_allclose(uv[:, 1], 55.5 + FOCAL * RIG.height_m * np.array([0.1, 0.025, 0]), atol=1e-3)


def test_left_is_left_and_up_is_up() -> None:
    uv, _ = project(np.array([(10.0, 3, 0), (10.0, -3, 0), (10.0, 0, 3)]), "front", SIZE)
    np.testing.assert_allclose(uv[:2, 0], 55.5 + FOCAL * np.array([-0.3, 0.3]), atol=1e-3)
    assert uv[2, 1] < 55.5


@pytest.mark.parametrize(("camera", "degrees"), list(zip(CAMERAS, RIG.yaw_deg, strict=True)))
def test_every_camera_looks_where_the_rig_says(camera: str, degrees: float) -> None:
    a = np.radians(degrees)
    uv, ahead = project(np.array([(20 * np.cos(a), 20 * np.sin(a), RIG.height_m)]), camera, (90, 160))
    assert ahead.all()
    np.testing.assert_allclose(uv[0], (79.5, 44.5), atol=1e-3)
    border, _ = project(np.array([(20 * np.cos(a + 0.61086), 20 * np.sin(a + 0.61086), 0.0)]), camera, (90, 160))
    assert border[0, 0] == pytest.approx(-0.5, abs=0.01)  # half the field of view: the left border


def test_points_behind_are_told() -> None:
    uv, ahead = project(np.array([(-5.0, 0, 0), (0.49, 0, 0), (0.51, 0, 0)]), "front", SIZE)
    assert ahead.tolist() == [False, False, True]
    assert np.isnan(uv[:2]).all()
    with pytest.raises(UnknownNameError, match="front_left"):
        project(np.zeros((1, 3)), "front_lef", SIZE)


# --- vehicles ---------------------------------------------------------------------------------------------------------------


def test_shape_order_and_type() -> None:
    images = render(scene(), 0, 0, (56, 84))
    assert images.shape == (3, 56, 84, 3)
    assert images.dtype == np.uint8


def test_a_vehicle_ahead_is_where_its_corners_project() -> None:
    rows, columns = changed(track(1, 15, 0)).nonzero()
    rear = 15 - 2.25
    half = FOCAL * 0.9 * 1.08 / rear  # with its shadow
    assert columns.min() == pytest.approx(55.5 - half, abs=1.5)
    assert columns.max() == pytest.approx(55.5 + half, abs=1.5)
    assert rows.max() == pytest.approx(55.5 + FOCAL * RIG.height_m / (rear - 0.18), abs=1.5)


def test_a_vehicle_30_m_ahead_is_still_several_pixels() -> None:
    assert changed(track(1, 30, 0)).sum() >= 16


def test_left_is_left_in_the_pictures() -> None:
    assert changed(track(1, 15, 6)).nonzero()[1].mean() < 45
    assert changed(track(1, 15, -6)).nonzero()[1].mean() > 66
    assert changed(track(1, 8, 9), camera="front_left").sum() > 50
    assert not changed(track(1, 8, 9), camera="front_right").any()


@pytest.mark.parametrize("where", [(-6.0, 0.0), (-20.0, 8.0), (90.0, 0.0)])
def test_what_is_behind_or_far_is_not_seen(where: tuple[float, float]) -> None:
    for camera in CAMERAS:
        assert not changed(track(1, *where), camera=camera).any()


def test_a_vehicle_beside_the_camera_is_cut_not_folded() -> None:
    """It reaches from behind the near plane to ahead of it: only the side it is on may change."""
    seen = changed(track(1, 2, 2.6, length=12), camera="front")
    assert seen.any()
    assert seen.nonzero()[1].max() < 60


def test_the_nearer_hides_the_farther() -> None:
    near = track(1, 12, 0)
    a = render(scene(near), 5, 0)[1]
    b = render(scene(near, track(2, 18, 0)), 5, 0)[1]
    np.testing.assert_array_equal(a[60:, 50:62], b[60:, 50:62])


def test_braking_and_standing_light_the_lamps() -> None:
    def redness(t: Track) -> int:
        image = render(scene(t), 5, 0)[1].astype(int)
        return int(((image[..., 0] > 190) & (image[..., 1] < 90)).sum())

    assert redness(track(1, 15, 0)) == 0
    assert redness(track(1, 15, 0, brake=0.8)) == 0
    assert redness(track(1, 15, 0, brake=2.0)) > 10
    assert redness(track(1, 15, 0, speed=0.0)) > 10
    assert redness(track(1, 15, 0, yaw=np.pi, brake=2.0)) == 0  # its front


def test_the_ego_is_not_drawn_and_absent_vehicles_neither() -> None:
    gone = Track(1, 50, *(getattr(track(1, 15, 0), k) for k in ("xy", "yaw", "speed", "length_m", "width_m")))
    assert not changed(gone).any()


# --- the road ---------------------------------------------------------------------------------------------------------------


def test_the_road_is_darker_than_the_ground_and_lies_below_the_horizon() -> None:
    images = render(scene(), 5, 0)
    bare = render(scene(lanes=()), 5, 0)
    assert images[1][95, 56].mean() < bare[1][95, 56].mean() - 15
    np.testing.assert_array_equal(images[:, :55], bare[:, :55])


def test_dividers_are_dashed_and_edges_are_not() -> None:
    """Along y = 1.75 (between two lanes) paint comes and goes; along y = 5.25 (the edge) it stays."""
    size = (448, 448)
    image = render(scene(), 5, 0, size)[1].astype(int)

    def paint(y: float) -> np.ndarray:
        uv, _ = project(np.stack([np.arange(8, 26, 0.3), np.full(60, y), np.zeros(60)], axis=1), "front", size)
        u, v = np.rint(uv[(uv > 2).all(1) & (uv < 445).all(1)]).astype(int).T
        return np.array([image[b, a - 1 : a + 2].mean(axis=1).max() for a, b in zip(u, v, strict=True)]) > 150

    assert 0.1 < paint(1.75).mean() < 0.6
    assert paint(5.25).mean() > 0.9
    assert paint(0.0).mean() == 0


def test_lanes_near_the_camera_do_not_vanish() -> None:
    """Lane polygons that surround the camera, with vertices behind it, are clipped and not dropped."""
    for x in np.linspace(0, 6, 7):
        lanes = straight()
        moved = Scene("made", "made", lanes, {0: track(0, float(x), 0)})
        image = render(moved, 5, 0)[1].astype(int)
        assert np.ptp(image[100:, 20:90].mean(axis=(0, 2))) < 120
        assert image[111, 56].mean() < 110


def test_road_polygons_are_in_the_frame_asked_for() -> None:
    polygons = road_polygons(scene(), (10.0, 0.0, np.pi / 2), reach_m=20.0)
    surface = polygons[1][0]  # the middle lane: x along its width now
    assert surface[:, 0].min() == pytest.approx(-1.75, abs=1e-3)
    assert surface[:, 0].max() == pytest.approx(1.75, abs=1e-3)


# --- the whole --------------------------------------------------------------------------------------------------------------


def test_a_mirrored_scene_gives_mirrored_pictures() -> None:
    s = scene(track(1, 14, 2.5, yaw=0.2), track(2, 9, -5, yaw=-0.4, brake=3.0), track(3, 7, 8, yaw=2.0))
    a, b = render(s, 5, 0), render(mirror(s), 5, 0)
    difference = np.abs(a[[2, 1, 0], :, ::-1].astype(int) - b).max(axis=-1)
    assert (difference > 25).mean() < 0.02  # dashes belong to left bounds; edges round to pixels


def test_a_moved_and_turned_scene_gives_the_same_pictures() -> None:
    def moved(t: Track) -> Track:
        c, s = np.cos(2.1), np.sin(2.1)
        xy = t.xy @ np.array([(c, s), (-s, c)], np.float32) + np.array([500, -300], np.float32)
        return Track(t.track_id, t.first, xy.astype(np.float32), t.yaw + np.float32(2.1), t.speed, t.length_m, t.width_m)

    def turn(line: np.ndarray) -> np.ndarray:
        return (line @ np.array([(np.cos(2.1), np.sin(2.1)), (-np.sin(2.1), np.cos(2.1))]) + (500, -300)).astype(np.float32)

    s = scene(track(1, 14, 2.5), track(2, 9, -5, yaw=0.5))
    t = Scene(s.name, s.source, tuple((turn(a), turn(b)) for a, b in s.lanes), {k: moved(v) for k, v in s.tracks.items()})
    difference = np.abs(render(s, 5, 0).astype(int) - render(t, 5, 0)).max(axis=-1)
    assert (difference > 25).mean() < 0.02


def test_colours_depend_on_the_name_alone() -> None:
    first = render(scene(track(1, 14, 2.5)), 5, 0)
    np.testing.assert_array_equal(first, render(scene(track(1, 14, 2.5)), 5, 0))
    assert (first != render(scene(track(1, 14, 2.5), name="another"), 5, 0)).mean() > 0.5
    # Sky and road of this scene, as painted when it was written: models are trained on these colours.
    np.testing.assert_allclose(first[1, 2, 2], [182, 200, 203], atol=2)
    np.testing.assert_allclose(first[1, 100, 56], [61, 66, 67], atol=2)


def test_another_rig() -> None:
    high = Rig(height_m=3.0)
    uv, _ = project(np.array([(10.0, 0, 0)]), "front", SIZE, high)
    assert uv[0, 1] == pytest.approx(55.5 + FOCAL * 0.3, abs=1e-3)
    assert (render(scene(track(1, 14, 0)), 5, 0, rig=high) != render(scene(track(1, 14, 0)), 5, 0)).any()


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="no track 7"):
        render(scene(), 5, 7)
    with pytest.raises(InputError, match="absent at step 10; choose one from 0 to 9"):
        render(scene(), 10, 0)
    with pytest.raises(InputError, match="at least 8 by 8"):
        render(scene(), 5, 0, (4, 112))


def test_it_is_fast_enough() -> None:
    """Twenty frames of three cameras a second would be 60 pictures; a loaded machine makes several times that."""
    s = scene(*(track(k, 6.0 * k, 3.5 * (k % 3 - 1)) for k in range(1, 14)))
    render(s, 5, 0)
    started = time.process_time()
    for _ in range(20):
        render(s, 5, 0)
    assert (time.process_time() - started) / 20 < 0.05
