"""A planner that always answers: requests and responses, deadlines, and what stands between a model and the road."""
