"""The right bank: archives in a Borg 1.4 repository, written and read in-process."""
