"""A camera over Meta-World's table, looking straight down: what a policy that sees is shown.

Marks of goals are not drawn, so that a picture does not say what is to be done where two tasks have the same scene.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import UnsupportedError
from robotics.policy.arena.metaworld import Arena

U8 = NDArray[np.uint8]
NAME, PLACE_M, FIELD_DEG = "topview", (0.0, 0.65, 1.5), 30.0
"""The environment's camera, moved so that the table's middle 80 cm fill the picture."""
SHAPES = 1000
"""Of a scene, at most."""


class Camera:
    """Pictures of one arena, `size` pixels wide and high. Any number of them may be alive."""

    def __init__(self, arena: Arena, size: int) -> None:
        """Raises UnsupportedError where the machine cannot draw off-screen."""
        import mujoco

        self._mj: Any = mujoco  # its stubs lack most of this
        self._model, self._data = model, _ = arena.simulation
        camera = model.camera(NAME)
        camera.pos[:], camera.fovy[:] = PLACE_M, FIELD_DEG
        model.vis.quality.offsamples = model.vis.quality.shadowsize = 0  # half the time, and nothing a policy needs
        screen = model.vis.global_
        screen.offwidth, screen.offheight = max(screen.offwidth, size), max(screen.offheight, size)
        self.options = self._mj.MjvOption()
        self.options.sitegroup[:] = 0
        self._view = self._mj.MjvCamera()
        self._view.type, self._view.fixedcamid = self._mj.mjtCamera.mjCAMERA_FIXED, camera.id
        self._scene = self._mj.MjvScene(model, maxgeom=SHAPES)
        self._frame, self._out = self._mj.MjrRect(0, 0, size, size), np.empty((size, size, 3), dtype=np.uint8)
        try:
            self._gl = self._mj.GLContext(size, size)
            self._gl.make_current()
            self._context = self._mj.MjrContext(model, self._mj.mjtFontScale.mjFONTSCALE_50.value)
        except Exception as e:  # each back end raises errors of its own
            raise UnsupportedError(
                f"pictures of the arena: no off-screen OpenGL here ({type(e).__name__}: {e}); install libosmesa6 or libegl1, or "
                "set MUJOCO_GL to a back end that works"
            ) from None
        self._mj.mjr_setBuffer(self._mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        weakref.finalize(self, _close, self._gl, self._context)

    def __call__(self) -> U8:
        """The arena as it is now, [size, size, 3]."""
        mj = self._mj
        self._gl.make_current()
        mj.mjv_updateScene(self._model, self._data, self.options, None, self._view, mj.mjtCatBit.mjCAT_ALL.value, self._scene)
        mj.mjr_render(self._frame, self._scene, self._context)
        mj.mjr_readPixels(self._out, None, self._frame, self._context)
        return np.flipud(self._out).copy()


def _close(gl: Any, context: Any) -> None:
    """What the drawing context holds is freed while it is current: otherwise that of another camera would lose the same numbers."""
    gl.make_current()
    context.free()
    gl.free()
