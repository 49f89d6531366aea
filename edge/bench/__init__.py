"""Benchmarks: ratios in one interleaved run, medians with spread, one JSON form for all (`edge.bench/1`)."""
