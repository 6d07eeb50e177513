"""First steps: from nothing to a configuration that works."""
