"""Settings of the whole suite: the tape asserts its exactness rule, and small tensors do not fight over cores."""

from __future__ import annotations

import os

os.environ.setdefault("EDGE_CHECK_TAPE", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import pytest
import torch

import robotics.policy.arena.metaworld  # noqa: F401 (so that MuJoCo, whoever imports it first, draws without a screen)

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def recorded_data() -> str:
    """Path of the recorded traffic; tests that need it skip where it is absent, and say so."""
    path = os.environ.get("EDGE_DATA", "")
    if not path:
        pytest.skip("EDGE_DATA is not set: the recorded traffic is not here, so nothing is checked on it")
    return path
