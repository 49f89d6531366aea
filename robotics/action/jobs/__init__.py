"""What actions do: let a policy act, plan a drive, follow a trajectory."""
