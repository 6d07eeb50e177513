"""A run: many VMs, many repositories, limits, hooks, the record of what became of each."""
