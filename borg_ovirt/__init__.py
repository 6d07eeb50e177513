"""oVirt virtual machines in BorgBackup: read what changed, store a complete archive."""

__version__ = "0.1.0"
