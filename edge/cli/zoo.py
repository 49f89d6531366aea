"""Where the shipped checkpoints lie."""

from __future__ import annotations

from pathlib import Path

ZOO = Path(__file__).resolve().parent.parent / "zoo"
NANO_PLANNER = ZOO / "nano-planner"
NANO_PARENT = ZOO / "nano-planner-ar"
NANO_DIFFUSION, NANO_FLOW, NANO_VLA = ZOO / "nano-diffusion", ZOO / "nano-flow", ZOO / "nano-vla"
NANO_REACH = ZOO / "nano-reach"
