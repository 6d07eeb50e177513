"""Proves archives, level by level, and says so where every client of the repository sees it."""
