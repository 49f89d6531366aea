"""Metrics need numpy alone: they are read beside any model, in any environment."""

import subprocess
import sys


def test_metrics_and_sub_scores_import_numpy_alone() -> None:
    heavy = ("torch", "scipy", "cv2", "matplotlib", "transformers", "highway_env", "shapely")
    code = "import sys, robotics.driving.metrics, robotics.driving.pdm; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [m for m in heavy if m in loaded] == []
