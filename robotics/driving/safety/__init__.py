"""From what a planner says to what a vehicle may drive.

Dense trajectories, checks in order, and what takes a rejected plan's place. Nothing here trusts a model, reads its explanation or
imports more than numpy and pydantic.
"""
