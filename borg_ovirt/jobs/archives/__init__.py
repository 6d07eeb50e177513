"""Archives of a repository: found, listed, compared, held, pruned."""
