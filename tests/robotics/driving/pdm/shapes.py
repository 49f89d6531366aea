"""Slow twins: polygons cut and points tested one by one."""

from __future__ import annotations

import math

Point = tuple[float, float]


def corner_points(box) -> list[Point]:
    x, y, yaw, length, width = map(float, box)
    c, s = math.cos(yaw), math.sin(yaw)
    out = []
    for along, aside in ((0.5, 0.5), (0.5, -0.5), (-0.5, -0.5), (-0.5, 0.5)):
        a, b = along * length, aside * width
        out.append((x + c * a - s * b, y + s * a + c * b))
    return out


def shared_area(a, b) -> float:
    """Area that two boxes share, by cutting one polygon along the sides of the other (Sutherland & Hodgman)."""
    shape, sides = corner_points(a), corner_points(b)[::-1]  # sides counter-clockwise
    for k in range(4):
        p, q = sides[k], sides[(k + 1) % 4]

        def left(r: Point, p: Point = p, q: Point = q) -> float:
            return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

        cut = []
        for n, r in enumerate(shape):
            before = shape[n - 1]
            if left(r) * left(before) < 0:
                t = left(before) / (left(before) - left(r))
                cut.append((before[0] + t * (r[0] - before[0]), before[1] + t * (r[1] - before[1])))
            if left(r) >= 0:
                cut.append(r)
        shape = cut
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(shape, shape[1:] + shape[:1], strict=True))) / 2 if shape else 0.0


def winding(point: Point, outline) -> bool:
    """Whether a polygon goes round the point: the angles at which its corners are seen add up to a turn."""
    total = 0.0
    for n in range(len(outline)):
        a, b = outline[n - 1], outline[n]
        step = math.atan2(b[1] - point[1], b[0] - point[0]) - math.atan2(a[1] - point[1], a[0] - point[0])
        total += (step + math.pi) % (2 * math.pi) - math.pi
    return abs(total) > math.pi
