"""Vehicles that were recorded twice: the same seconds of the same street, cut into scenes of different splits.

Scene files of one recording overlap in time and differ in origin and step count, so neither names nor coordinates show it. Motion
does: a stretch of speeds and the size of the vehicle are the same in both cuts, and practically never by chance.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from robotics.driving.scene import Scene, Track

STRETCH = 20
"""Steps that must agree (2 s)."""
LEAST_SPREAD_MPS = 0.1
"""Stretches steadier than this say nothing: standing and cruising vehicles all look alike."""


def fingerprints(track: Track) -> set[bytes]:
    """One value for every telling stretch of a track, the same wherever the scene has its origin and its first step."""
    size = np.round([track.length_m, track.width_m], 2).tobytes()
    speeds = np.round(track.speed.astype(np.float64), 2) + 0.0
    return {
        size + part.tobytes()
        for part in (speeds[i : i + STRETCH] for i in range(len(track) - STRETCH + 1))
        if part.std() > LEAST_SPREAD_MPS
    }


def seen_in(scenes: Iterable[Scene]) -> frozenset[bytes]:
    """Fingerprints of all tracks of some scenes."""
    return frozenset().union(*(fingerprints(t) for s in scenes for t in s.tracks.values()))


def shared_tracks(scene: Scene, seen: frozenset[bytes]) -> frozenset[int]:
    """Ids of the tracks of `scene` whose vehicle, at the same moment, is also in the scenes of `seen`."""
    return frozenset(k for k, t in scene.tracks.items() if not seen.isdisjoint(fingerprints(t)))
