"""Which versions of Borg we know from inside: it promises no stable Python API, so others are refused."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from borg_ovirt.errors import RepositoryError

OLDEST = (1, 4, 3)
NEWEST = (1, 4, 5)


def borg_version() -> str:
    """Of the Borg that is installed beside us."""
    try:
        return version("borgbackup")
    except PackageNotFoundError:
        raise RepositoryError("BorgBackup is not installed.", f"Install {_wanted()}.") from None


def check_borg_version() -> None:
    """Refuse a Borg that our tests did not run with."""
    found = borg_version()
    if not is_tested(found):
        raise RepositoryError(
            f"BorgBackup {found} is installed; borg-ovirt works with {_text(OLDEST)} to {_text(NEWEST)}.",
            f"Install {_wanted()} next to borg-ovirt.",
        )


def is_tested(found: str) -> bool:
    """Whether that release is one of those we know; pre-releases are not."""
    parts = found.split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return False
    return OLDEST <= tuple(int(part) for part in parts) <= NEWEST


def _wanted() -> str:
    return f"'borgbackup>={_text(OLDEST)},<={_text(NEWEST)}'"


def _text(release: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in release)
