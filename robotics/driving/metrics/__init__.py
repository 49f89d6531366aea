"""Open-loop metrics, numpy alone: displacement, rater feedback score, nuScenes planning, intervals by bootstrap over scenes.

Before quoting a number say on which grid and at which horizon: WOD-E2E samples at 4 Hz, nuScenes and the recorded windows here at
2 Hz.
"""

from robotics.driving.metrics.displacement import ade, displacement, fde, grid_errors
from robotics.driving.metrics.intervals import Interval, bootstrap_over_scenes, interval, paired
from robotics.driving.metrics.nuscenes import OpenLoop, occupancy, open_loop
from robotics.driving.metrics.path import dense
from robotics.driving.metrics.rater import CLUSTERS, best_rated, cluster_mean, rfs, thresholds

__all__ = [
    "CLUSTERS",
    "Interval",
    "OpenLoop",
    "ade",
    "best_rated",
    "bootstrap_over_scenes",
    "cluster_mean",
    "dense",
    "displacement",
    "fde",
    "grid_errors",
    "interval",
    "occupancy",
    "open_loop",
    "paired",
    "rfs",
    "thresholds",
]
