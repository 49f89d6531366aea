"""The first answers of an engine, which take longer than any other and are nobody's."""

from __future__ import annotations

from edge.engine import Engine
from robotics.driving.planner import Planner

TOKENS = 8


def warm_up(engine: Engine, planner: Planner | None) -> None:
    """One short answer by the default strategy, or one plan."""
    if planner is not None:
        from robotics.driving.demo import demo_window
        from robotics.driving.evaluate import sample

        s = sample(demo_window(0), planner.config.image_size)
        planner.plan(list(s.images), s.history, s.command)
        return
    strategy = "self-spec" if engine.spec.causal_mode else "threshold"
    engine.generate([0], strategy=strategy, max_new_tokens=TOKENS)
