"""The first answers of an engine, which take longer than any other and are nobody's."""

from __future__ import annotations

from edge.engine import Engine
from robotics.driving.planner import Planner
from robotics.driving.service import warm

TOKENS = 8


def warm_up(engine: Engine, planner: Planner | None) -> None:
    """One short answer by the default strategy, or one plan."""
    if planner is not None:
        warm.warm_up(planner)
        return
    strategy = "self-spec" if engine.spec.causal_mode else "threshold"
    engine.generate([0], strategy=strategy, max_new_tokens=TOKENS)
