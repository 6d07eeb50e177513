"""What can go wrong, in the words of the user: each cause has one class and one exit code.

Exit codes follow Borg's classes: 0 is success, 1 is a warning (an archive was made, look at the messages),
2 and above are errors. `docs/exit-codes.md` lists them.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_WARNING = 1
EXIT_ERROR = 2


class BorgOvirtError(Exception):
    """A failure told in one line: what happened, to what, and what to do next.

    `hint` is the next step for the user; it is printed after the message.
    """

    exit_code = EXIT_ERROR

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(BorgOvirtError):
    """The command line or its arguments are wrong."""

    exit_code = 2


class ConfigError(BorgOvirtError):
    """The configuration is wrong: the message names file, line and key."""

    exit_code = 3


class EngineUnreachable(BorgOvirtError):
    """No connection to the engine: name, port, network, or it is restarting."""

    exit_code = 10


class CertificateError(BorgOvirtError):
    """The engine's or the daemon's certificate: not signed by the CA given, expired, or for another name."""

    exit_code = 11


class LoginFailed(BorgOvirtError):
    """The engine refused user name or password."""

    exit_code = 12


class NotAuthorized(BorgOvirtError):
    """The engine knows the user but does not allow the action."""

    exit_code = 13


class VmNotFound(BorgOvirtError):
    """No VM of that name or id (or several of that name)."""

    exit_code = 14


class VmNotSuitable(BorgOvirtError):
    """The VM's state or kind forbids the job (preview, paused, migrating, Hosted Engine, no disk left)."""

    exit_code = 15


class EngineRefused(BorgOvirtError):
    """The engine refused a request (a fault); the message carries its detail."""

    exit_code = 16

    def __init__(
        self, message: str, hint: str | None = None, *, status: int | None = None, detail: str = ""
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.detail = detail


class TransferFailed(BorgOvirtError):
    """An image transfer broke: short data, a dead daemon, a cancelled ticket."""

    exit_code = 17


class BackupFailed(BorgOvirtError):
    """The engine's backup did not become ready, or failed before it was read."""

    exit_code = 18


class Timeout(BorgOvirtError):
    """The engine did not reach a state in the time allowed."""

    exit_code = 19


class CheckpointLost(BorgOvirtError):
    """The engine cannot back up from the checkpoint named; a full backup is what is left to do."""

    exit_code = 20

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason, hint)
        self.reason = reason


class DomainFull(BorgOvirtError):
    """A storage domain has less free room than the configuration demands: a full one pauses its VMs."""

    exit_code = 21


class HookFailed(BorgOvirtError):
    """A command of the configuration failed, or took too long, and was to stop the run."""

    exit_code = 22


class RepositoryNotFound(BorgOvirtError):
    """There is no Borg repository at that location."""

    exit_code = 30


class RepositoryLocked(BorgOvirtError):
    """Another Borg holds the repository's lock."""

    exit_code = 31


class WrongPassphrase(BorgOvirtError):
    """The passphrase does not open the repository's key."""

    exit_code = 32


class RepositoryError(BorgOvirtError):
    """Borg failed on the repository: connection, space, version."""

    exit_code = 33


class RepositoryDamaged(RepositoryError):
    """Something that was stored is not there any more, or not what it was; the repository itself answers."""

    exit_code = 36


class ArchiveNotFound(BorgOvirtError):
    """No archive (or no archive of that VM) by that name, or the name is ambiguous."""

    exit_code = 34


class NotOurArchive(BorgOvirtError):
    """The archive was not made by borg-ovirt, or its manifest was tampered with or is of a newer layout."""

    exit_code = 35


class ArchiveUnsound(BorgOvirtError):
    """An archive failed its proof, or Borg found its repository faulty: it cannot be relied on."""

    exit_code = 37


class RestoreBlocked(BorgOvirtError):
    """The plan of a restore has blockers: nothing was touched."""

    exit_code = 40


class RestoreFailed(BorgOvirtError):
    """A restore failed half-way; what it had made was removed unless `--keep`."""

    exit_code = 41


class ProofFailed(RestoreFailed):
    """The restored bytes are not the archived bytes."""

    exit_code = 42


class Interrupted(BorgOvirtError):
    """Ended by a signal; nothing was kept."""

    exit_code = 130
