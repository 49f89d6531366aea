"""`edge drive eval`: planners and the trivial baselines on the same windows, per site, with intervals and paired differences."""
