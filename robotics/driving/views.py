"""What the ego's cameras show of a window: the recorded pictures where there are any, painted ones where not."""

from __future__ import annotations

from robotics.driving.render import render
from robotics.driving.scene import U8, Window


def views(window: Window, size: tuple[int, int] = (112, 112)) -> U8:
    """uint8 [3, H, W, 3], RGB, in the order of CAMERAS; size: (H, W) px.

    Raises InputError for a recorded picture that is missing or broken, and as `render` does.
    """
    ego = window.scene.ego
    if ego is not None:
        return ego.cameras.images(size)
    return render(window.scene, window.step, window.track_id, size=size)
