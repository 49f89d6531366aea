"""Sub-scores of driving in the manner of NAVSIM's predictive driver model score, as pure functions: numpy alone.

    ego = Ego(poses, speed, (4.5, 1.9))                                          # what was driven, or planned
    parts, contacts = pdm(ego, agents_of(scene, ego_id, first, steps), Road(scene.lanes), route, best_m)
    parts.score()                                                                # PDMS

NAVSIM itself is not needed and its numbers are not claimed: it scores its own simulation of a plan on its own maps.
"""

from robotics.driving.pdm.boxes import corners, overlap
from robotics.driving.pdm.collision import Contact, contacts, no_collision, time_to_collision
from robotics.driving.pdm.motion import BOUNDS, Bound, comfort, extended_comfort, movement
from robotics.driving.pdm.road import Area, Road, area
from robotics.driving.pdm.rollout import Agents, Ego, agents_of
from robotics.driving.pdm.score import (
    ExtendedPdm,
    Pdm,
    driving_direction,
    ego_progress,
    lane_keeping,
    on_road,
    pdm,
    progress,
)

__all__ = [
    "BOUNDS",
    "Agents",
    "Area",
    "Bound",
    "Contact",
    "Ego",
    "ExtendedPdm",
    "Pdm",
    "Road",
    "agents_of",
    "area",
    "comfort",
    "contacts",
    "corners",
    "driving_direction",
    "ego_progress",
    "extended_comfort",
    "lane_keeping",
    "movement",
    "no_collision",
    "on_road",
    "overlap",
    "pdm",
    "progress",
    "time_to_collision",
]
