"""Bringing an archive back: the plan with its blockers, into oVirt, into files."""
