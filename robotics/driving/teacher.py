"""The reference path of a planner and the paths that it is taught, both fitted to dataset folders.

A recorded future is one of many that could have followed. A model that writes digits greedily writes the most probable digit of
each place, which is not the middle of those futures, and its first digits decide which of them the rest follows. So a planner
may be taught, in their place, what a small network expects that knows the ego's motion and, from boxes, what the cameras show
(`surroundings`): a function of what the planner itself can see. Each record is taught by a network that did not see its scene.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.driving import path_net
from robotics.driving.baselines import constant_velocity
from robotics.driving.coding import WAYPOINT_TIMES_S
from robotics.driving.path_net import PathNet, motion_features
from robotics.driving.prompt import EgoHistory
from robotics.driving.recode import records
from robotics.driving.surroundings import Surroundings
from robotics.driving.windows import MIRRORED

F64 = NDArray[np.float64]

FOLDS = 8
SEEDS = 3
"""Networks whose mean teaches: one alone would teach its chance as well."""


class _Examples:
    """Records as arrays. motion: [N, 20]; seen: [N, 33]; straight, offsets: [N, 5, 2] m; scene: [N], without the mirror's mark."""

    def __init__(self, rows: Sequence[dict[str, Any]], where: str, *, surroundings: bool) -> None:
        if not rows:
            raise InputError(f"{where}: a path needs records to be fitted to: the folder holds none")
        if surroundings and any("surroundings" not in r for r in rows):
            raise InputError(f"{where}: records have no surroundings to teach from; write the folder again with `edge drive data`")
        histories = [EgoHistory.read(r["history"]) for r in rows]
        self.motion = np.stack([motion_features(h, r["command"]) for h, r in zip(histories, rows, strict=True)])
        self.straight = np.stack([constant_velocity(h.velocity_mps(), WAYPOINT_TIMES_S) for h in histories])
        self.offsets = np.array([r["waypoints"] for r in rows], dtype=np.float64) - self.straight
        self.scene = np.array([str(r["scene"]).removesuffix(MIRRORED) for r in rows])
        self.id = [str(r["id"]) for r in rows]
        if surroundings:
            pairs = zip(histories, rows, strict=True)
            seen = [Surroundings.model_validate(r["surroundings"]).numbers(h.points[-1].v_mps) for h, r in pairs]
            self.seen = np.concatenate([self.motion, np.stack(seen)], axis=1)

    def balance(self) -> F64:
        """[N], mean 1: a scene counts as the square root of its records, so that long ones do not outvote short ones."""
        _, scene, count = np.unique(self.scene, return_inverse=True, return_counts=True)
        w = count[scene] ** -0.5
        return w / w.mean()


def _read(folder: Path, *, surroundings: bool) -> _Examples:
    return _Examples(list(records(folder)), str(folder), surroundings=surroundings)


def reference(folders: Sequence[Path], weights: Sequence[float] = ()) -> PathNet:
    """A reference path from the ego's motion alone. weights: how much a record of each folder counts, on average; else 1.

    Raises InputError for a number of weights that is not the number of folders, a weight that is not positive, no record at all.
    """
    if weights and len(weights) != len(folders):
        raise InputError(f"one weight per folder: got {len(weights)} weights for {len(folders)} folders")
    if any(not w > 0 for w in weights):
        raise InputError(f"weights are positive: got {list(weights)}")
    parts = [_read(f, surroundings=False) for f in folders]
    counts = [w * p.balance() for p, w in zip(parts, weights or [1.0] * len(parts), strict=True)]
    join = np.concatenate
    return path_net.fit(join([p.motion for p in parts]), join([p.offsets for p in parts]), join(counts))


def teach(
    folder: Path, others: Sequence[Path] = (), beside: Path | None = None, beside_weight: float = 0.1
) -> dict[str, list[list[float]]]:
    """Record id to the taught waypoints [5, 2] m: of every record of `folder`, and of `others`, which no network is fitted to.

    The scenes of `folder` are dealt to FOLDS parts; each part is taught by SEEDS networks fitted to the other parts, and to the
    folder `beside`, whose records count `beside_weight`. Raises InputError for a folder of fewer scenes than two.
    """
    own = _read(folder, surroundings=True)
    extra = None if beside is None else (_read(beside, surroundings=True), beside_weight)
    names = sorted(set(own.scene))
    if len(names) < 2:
        raise InputError(f"{folder}: teaching needs two scenes or more, so that none teaches itself: got {len(names)}")
    part = np.array([names.index(s) % FOLDS for s in own.scene])
    out: dict[str, list[list[float]]] = {}
    for k in range(min(FOLDS, len(names))):
        _taught(out, _networks(own, part != k, extra), own, part == k)
    if others:
        networks = _networks(own, np.ones(len(part), dtype=bool), extra)
        for other in others:
            _taught(out, networks, (examples := _read(other, surroundings=True)), np.ones(len(examples.id), dtype=bool))
    return out


def _networks(examples: _Examples, rows: NDArray[np.bool_], extra: tuple[_Examples, float] | None) -> list[PathNet]:
    seen, offsets, weights = examples.seen[rows], examples.offsets[rows], examples.balance()[rows]
    if extra is not None:
        other, weight = extra
        seen, offsets = np.concatenate([seen, other.seen]), np.concatenate([offsets, other.offsets])
        weights = np.concatenate([weights, weight * other.balance()])
    return [path_net.fit(seen, offsets, weights, seed=s) for s in range(SEEDS)]


def _taught(out: dict[str, list[list[float]]], networks: Sequence[PathNet], examples: _Examples, rows: NDArray[np.bool_]) -> None:
    mean = examples.straight[rows] + np.mean([net(examples.seen[rows]) for net in networks], axis=0)
    out.update(zip([examples.id[i] for i in np.flatnonzero(rows)], np.round(mean, 4).tolist(), strict=True))


def save(taught: dict[str, list[list[float]]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"schema": "edge.taught/1", "waypoints": taught}) + "\n", encoding="utf-8")


def load(file: Path) -> dict[str, list[list[float]]]:
    """Raises InputError for a missing or foreign file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; write it with `edge drive teach`") from None
    except ValueError as e:
        raise InputError(f"{file}: not valid JSON: {e}") from None
    if not isinstance(content, dict) or content.get("schema") != "edge.taught/1" or not isinstance(content.get("waypoints"), dict):
        raise InputError(f"{file}: no file of taught paths; write it with `edge drive teach`")
    return content["waypoints"]
