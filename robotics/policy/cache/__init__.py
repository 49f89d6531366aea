"""Feature caches of denoisers: what is computed anew at a step, and what is taken over from an earlier one."""

from robotics.policy.cache.acs import solve_acs
from robotics.policy.cache.bubbling import bubbling_union

__all__ = ["bubbling_union", "solve_acs"]
