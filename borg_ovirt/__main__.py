"""`python -m borg_ovirt` is `borg-ovirt`."""

from borg_ovirt.cli import main

if __name__ == "__main__":
    main()
