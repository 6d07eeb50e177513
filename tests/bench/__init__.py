"""Benchmarks: ours and what a user would do otherwise, in turn, on the same disk and the same machine."""
