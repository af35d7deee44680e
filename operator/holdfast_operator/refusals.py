"""What it means when the API server says no: try again, or tell the user."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from holdfast_api import conditions
from holdfast_operator.cluster import ApiError
from holdfast_operator.kinds import DAPR_GROUP, Kind
from holdfast_operator.observe import Findings, failed
from holdfast_operator.queue import Retry

T = TypeVar("T")

LOOK_AGAIN = 5.0
"""Seconds until what somebody else can mend is looked at again."""


class Blocked(Exception):  # noqa: N818 - it reads as a verdict
    """The children cannot be made.

    Attributes:
        findings: why.
        again: seconds after which to look again, where no event tells that the cause has gone; longer when it stays.
    """

    def __init__(self, findings: Findings, *, again: float | None = None) -> None:
        super().__init__(str(findings))
        self.findings, self.again = findings, again


def refusal(kind: Kind, name: str, error: ApiError) -> Exception:
    """What an API error means: try again, or tell the user."""
    if error.transient:
        return Retry(str(error), after=error.retry_after)
    if error.not_served and kind.group == DAPR_GROUP:
        return Retry(f"Dapr's kind {kind.kind} has vanished from the API server", after=1.0)
    if error.status in {404, 405, 409} or "being terminated" in error.message:  # 405: the kind is being removed
        return Retry(f"{kind.kind} {name}: {error.message}")
    message = f"{kind.kind} {name} is refused: {error.message}"
    if kind.group == DAPR_GROUP:
        return Blocked(Findings(dapr=failed(conditions.DAPR_REJECTED, message)), again=LOOK_AGAIN)
    if error.status == 422 or error.unfit:  # noqa: PLR2004 - HTTP
        # Mostly the spec, but a ValidatingAdmissionPolicy answers the same, and that may change.
        return Blocked(Findings(accepted=failed(conditions.INVALID_SPEC, message, stalled=True)), again=LOOK_AGAIN)
    return Blocked(Findings(accepted=failed(conditions.APPLY_FAILED, message)), again=LOOK_AGAIN)


async def gather(work: Iterable[tuple[Kind, str, Awaitable[T]]]) -> list[T]:
    """Do requests at once, each for an object of a kind and a name, all to the end; then raise what failed as what it means."""
    requests = list(work)
    results = await asyncio.gather(*(request for _, _, request in requests), return_exceptions=True)
    pairs = zip(requests, results, strict=True)
    raise_first(refusal(kind, name, found) if isinstance(found, ApiError) else found for (kind, name, _), found in pairs)
    return [found for found in results if not isinstance(found, BaseException)]


def raise_first(results: Iterable[object]) -> None:
    """Raise the first error among results, one that cannot be retried before one that can."""
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, Retry)):
        raise error
