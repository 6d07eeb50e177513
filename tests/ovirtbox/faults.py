"""What the engine says when it refuses: a status, a reason and a detail, in the shapes of a real engine."""

from __future__ import annotations

OPERATION_FAILED = "Operation Failed"
INCOMPLETE = "Incomplete parameters"
INVALID = "Input validation failed."
SYNTAX = "Request syntactically incorrect."
UNAUTHORIZED = "User is not authorized to perform this action."
QUERY_FORBIDDEN = "query execution failed due to insufficient permissions."


class Fault(Exception):
    """Raised anywhere below a request; the REST layer turns it into the answer.

    `detail` is sent as it stands: the messages of a command come in square brackets (see `refusal`).
    A fault of an action (start, freeze ...) is wrapped in `<action>`: `bare` is then False.
    """

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        reason: str = OPERATION_FAILED,
        *,
        bare: bool = True,
        empty: bool = False,
        html: bool = False,
    ) -> None:
        super().__init__(f"{status} {reason}: {detail}")
        self.status = status
        self.detail = detail
        self.reason = reason
        self.bare = bare
        self.empty = empty
        """No body at all: the plain "not found" of a real engine."""
        self.html = html
        """An error page: an exception that nobody in the engine translates."""


def refusal(status: int, *messages: str) -> Fault:
    """A command that failed its validation, or its execution: the messages are a Java list."""
    return Fault(status, f"[{', '.join(messages)}]")


def conflict(*messages: str) -> Fault:
    return refusal(409, *messages)


def bad(*messages: str) -> Fault:
    """400; without a message the detail is `[]`, as for a failure while executing."""
    return refusal(400, *messages)


def incomplete(entity: str, fields: str, operation: str = "add") -> Fault:
    return Fault(400, f"{entity} [{fields}] required for {operation}", INCOMPLETE)


def mandatory(*fields: str) -> Fault:
    """A missing parameter as the newer code tells it (snapshots, backups, events)."""
    named = " or ".join(f"'{name}'" for name in fields)
    one = len(fields) == 1
    text = f"Parameter{'' if one else 's'} {named} {'is' if one else 'are'} mandatory"
    return Fault(400, f"{text} but {'was' if one else 'both were'} not provided.", INVALID)


def not_allowed() -> Fault:
    """A command that the user has no right to."""
    return Fault(403, UNAUTHORIZED)


def query_not_allowed() -> Fault:
    """A query that the user has no right to: no 403, but a bad request."""
    return Fault(400, QUERY_FORBIDDEN)


def broken() -> Fault:
    """An exception inside the engine: an error page, in HTML."""
    return Fault(500, html=True)


def invalid_value(detail: str) -> Fault:
    return Fault(400, detail, "Invalid value")


def bad_id(text: str) -> Fault:
    return Fault(400, f"Invalid UUID string: {text}", "Operation failed")


def not_found() -> Fault:
    """By id: an empty body."""
    return Fault(404, empty=True)


def entity_not_found(what: str) -> Fault:
    """By name, or as a parent in a POST: a body."""
    return Fault(404, f"Entity not found: {what}")


def internal(detail: str) -> Fault:
    return Fault(500, detail)
