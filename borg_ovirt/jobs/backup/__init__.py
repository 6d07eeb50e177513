"""Backing up one VM: which disks, what to build on, one instant, one archive in each repository."""
