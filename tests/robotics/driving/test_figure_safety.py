"""The picture of a checked plan shows what the response says."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from robotics.driving.figure_safety import draw
from robotics.driving.safety.proposal import Proposal
from robotics.driving.service import faults
from robotics.driving.service.request import PlanRequest
from robotics.driving.service.response import PlanResponse
from robotics.driving.service.service import PlannerService
from robotics.driving.service.thread import ThreadBackend


def answered(points: np.ndarray) -> PlanResponse:
    history = {"points": [{"x_m": 4.5 * (n - 4), "y_m": 0, "v_mps": 9.0} for n in range(5)]}
    service = PlannerService(ThreadBackend(lambda request, left, interruption: Proposal(faults.answer(points), points)))
    return service.plan(PlanRequest.model_validate({"images": (), "history": history, "nav_command": "GO_LEFT"}))


@pytest.mark.parametrize("hook", [False, True])
def test_it_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: bool) -> None:
    bend = np.array([[9, 0.3], [17.5, 2.0], [25, 6.0], [29.5, 12.0], [30, 19.5]])
    response = answered(bend[[0, 1, 0, 0, 0]] if hook else bend)
    kept = []
    monkeypatch.setattr(plt, "close", kept.append)
    draw(response, tmp_path / "out" / "plan.png", "bend")
    image = np.asarray(Image.open(tmp_path / "out" / "plan.png").convert("RGB"))
    assert image.shape[1] > image.shape[0] > 400
    (figure,) = kept
    above, bars = figure.axes[:2]
    assert figure.get_suptitle() == ("bend: FALLBACK by brake_stop (IMPLAUSIBLE)" if hook else "bend: OK by model")
    np.testing.assert_allclose(above.lines[0].get_ydata(), [p.x for p in response.trajectory.points])
    assert len(bars.patches) == len(bars.get_yticklabels()) >= 10
    red = [p for p in bars.patches if p.get_facecolor()[0] > 0.6 and p.get_facecolor()[1] < 0.3]
    assert len(red) == sum(not c.ok and c.critical and c.limit is not None for c in response.checks)
    monkeypatch.undo()
    plt.close(figure)
