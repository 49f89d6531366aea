"""The trivial planners on windows."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.errors import InputError
from robotics.driving.evaluate import constant_velocity_errors
from robotics.driving.simulate import simulate
from robotics.driving.trivial import NAMES, fit_ridges, path_errors, trivial_paths
from robotics.driving.windows import windows


@pytest.fixture(scope="module")
def some():
    return [w for kind in ("highway", "intersection") for w in list(windows(simulate(3, kind)))[:40]]


def kind(scene: str) -> str:
    return scene.split("-")[1]


def test_paths_and_errors(some) -> None:
    paths = trivial_paths(some, fit_ridges(some, kind), kind)
    errors = path_errors(paths, some)
    assert tuple(paths) == NAMES == tuple(errors)
    assert all(p.shape == (len(some), 10, 2) for p in paths.values())
    np.testing.assert_allclose(errors["constant velocity"], [constant_velocity_errors(w) for w in some])
    np.testing.assert_allclose(errors["stop"], np.linalg.norm([w.future[4::5] for w in some], axis=-1), rtol=1e-6)
    assert errors["ridge"].mean() < min(errors[n].mean() for n in NAMES if n != "ridge")  # on what it was fitted to


def test_every_site_has_its_own_ridge(some) -> None:
    ridges = fit_ridges(some, kind)
    assert set(ridges) == {"highway", "intersection"}
    alone = [w for w in some if kind(w.scene.name) == "highway"]
    np.testing.assert_allclose(ridges["highway"].weights, fit_ridges(alone, kind)["highway"].weights)
    swapped = {"highway": ridges["intersection"], "intersection": ridges["highway"]}
    assert not np.allclose(trivial_paths(some, swapped, kind)["ridge"], trivial_paths(some, ridges, kind)["ridge"])
    with pytest.raises(InputError, match="no ridge was fitted for highway"):
        trivial_paths(some, {"intersection": ridges["intersection"]}, kind)
