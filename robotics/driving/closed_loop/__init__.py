"""The loop closed: a planner drives, and what it sees next is where its plans have led. On recorded traffic, and in highway-env."""
