"""What the engine says when it refuses: a status, a reason and a detail, in the shapes of a real engine."""

from __future__ import annotations

OPERATION_FAILED = "Operation Failed"
INCOMPLETE = "Incomplete parameters"


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
    ) -> None:
        super().__init__(f"{status} {reason}: {detail}")
        self.status = status
        self.detail = detail
        self.reason = reason
        self.bare = bare
        self.empty = empty
        """No body at all: the plain "not found" of a real engine."""


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
