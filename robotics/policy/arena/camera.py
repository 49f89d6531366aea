"""A camera over Meta-World's table, looking straight down: what a policy that sees is shown.

Marks of goals are not drawn, so that a picture does not say what is to be done where two tasks have the same scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import UnsupportedError
from robotics.policy.arena.metaworld import Arena

U8 = NDArray[np.uint8]
NAME, PLACE_M, FIELD_DEG = "topview", (0.0, 0.65, 1.5), 30.0
"""The environment's camera, moved so that the table's middle 80 cm fill the picture."""


class Camera:
    """Pictures of one arena, `size` pixels wide and high."""

    def __init__(self, arena: Arena, size: int) -> None:
        """Raises UnsupportedError where the machine cannot draw off-screen."""
        import mujoco

        made: Any = mujoco  # its stubs lack some of it
        model, self._data = arena.simulation
        camera = model.camera(NAME)
        camera.pos[:], camera.fovy[:] = PLACE_M, FIELD_DEG
        model.vis.quality.offsamples = model.vis.quality.shadowsize = 0  # half the time, and nothing a policy needs
        self.options = made.MjvOption()
        self.options.sitegroup[:] = 0
        try:
            self._renderer = made.Renderer(model, size, size)
        except Exception as e:  # each back end raises errors of its own
            raise UnsupportedError(
                f"pictures of the arena: no off-screen OpenGL here ({type(e).__name__}: {e}); install libosmesa6 or libegl1, or "
                "set MUJOCO_GL to a back end that works"
            ) from None

    def __call__(self) -> U8:
        """The arena as it is now, [size, size, 3]."""
        self._renderer.update_scene(self._data, NAME, scene_option=self.options)
        return self._renderer.render().copy()
