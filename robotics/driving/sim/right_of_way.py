"""Right of way at junctions: red lights and gap acceptance."""

from __future__ import annotations

from robotics.driving.sim.driver import Driver
from robotics.driving.sim.simulator import LaneIndex
from robotics.driving.sim.world import World


def hold_back(world: World, t: float) -> None:
    """Red lights and gap acceptance: who has to stop before the connector that the route takes next."""
    if not world.gates:
        return
    red, net = world.red(t), world.road.network
    coming: dict[LaneIndex, list[tuple[Driver, float]]] = {}
    inside: dict[LaneIndex, list[float]] = {}
    for v in world.road.vehicles:
        v.stop_in_m = None
        index = v.target_lane_index
        at = net.get_lane(index).local_coordinates(v.position)[0]
        inside.setdefault(index, []).append(at - v.LENGTH / 2)
        following = next(v.upcoming(index), None)
        if following in world.gates:
            coming.setdefault(following, []).append((v, net.get_lane(index).length - at))
    for gate, waiting in coming.items():
        rank, conflicts = world.gates[gate]
        for v, way in waiting:
            if _committed(v, way) or way > 60:
                continue
            held = gate[0] in red or any(at < end for c, end in conflicts for at in inside.get(c, ()))
            crossing_s = max(4.0, 1.0 + (way + 0.75 * net.get_lane(gate).length) / max(v.speed, 4.0))
            for c, _ in conflicts if not held else ():
                other = world.gates[c][0]
                for w, far in coming.get(c, ()):
                    soon = far / max(w.speed, 2.5) < (crossing_s if other > rank else 4.0)
                    first = (other, -far) > (rank, -way) and c[0] not in red
                    held |= soon and (first or _committed(w, far))
            if held:
                v.stop_in_m = way


def _committed(v: Driver, way: float) -> bool:
    """Too close to the line to stop."""
    return way - v.LENGTH / 2 < v.speed**2 / (2 * 3.5) - 0.5
