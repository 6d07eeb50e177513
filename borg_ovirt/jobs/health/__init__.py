"""Is all well: checks, leftovers, how well each VM is protected."""
