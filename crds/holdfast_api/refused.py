"""The verdict that an Agent cannot be carried out as it is written."""

from holdfast_api import conditions


class Refused(Exception):  # noqa: N818 - it reads as a verdict: raise Refused(...)
    """The Agent cannot be carried out as it is written.

    Attributes:
        condition: type of the condition that says so, `Accepted` or `ReferencesResolved`.
        reason: one of `conditions`' reasons.
        message: field, value and fix.
    """

    def __init__(self, reason: str, message: str, *, condition: str = conditions.ACCEPTED) -> None:
        super().__init__(message)
        self.reason, self.message, self.condition = reason, message, condition
