"""Robots that are simulated, at the other end of an action service: they publish what they see and do what they are told."""
