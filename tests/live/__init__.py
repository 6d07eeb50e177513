"""Acceptance on a living engine: what `make live` tries there, and says that it could not."""
