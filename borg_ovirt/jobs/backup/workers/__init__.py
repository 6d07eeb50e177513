"""One backup into several repositories: each block is read once, each repository has a process of its own."""
