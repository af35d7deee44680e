"""What a provider's error means. Dapr's Conversation API hands it on as text in an INTERNAL status, so text is what there is. Pure.

A permanent error is one that the very same request will meet again: it ends the run at once instead of after minutes of retrying.
Whatever is not recognised is transient, and transient is bounded. First match wins.
"""

import re
from typing import Final

import grpc

from holdfast_agent.outcome import Failure, FailureKind

_STATUS: Final = re.compile(
    r"(?:status(?:[ _-]?code)?|http(?:/[0-9.]+)?(?: error)?|googleapi: error|error code|api error|^)\W{0,3}([45][0-9]{2})\b", re.IGNORECASE
)
_TRANSIENT_STATUSES: Final = frozenset({408, 409, 425, 429})

_WORDS: Final[tuple[tuple[FailureKind, str], ...]] = (
    # OpenAI, Azure and what speaks their protocol; a used-up quota comes as 429 but time does not mend it.
    (
        "permanent",
        r"insufficient_quota|invalid_api_key|incorrect api key|model_not_found|context_length_exceeded|maximum context length",
    ),
    ("permanent", r"content_policy|content_filter|unsupported_(?:value|parameter)|invalid_request_error|DeploymentNotFound"),
    ("transient", r"rate_limit|overloaded_error|server_error|engine is currently overloaded"),
    # Anthropic
    (
        "permanent",
        r"authentication_error|permission_error|not_found_error|request_too_large|prompt is too long|credit balance is too low",
    ),
    # Google
    ("permanent", r"API_KEY_INVALID|PERMISSION_DENIED|INVALID_ARGUMENT|API key not valid"),
    ("transient", r"RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED"),
    # Bedrock
    (
        "permanent",
        r"AccessDeniedException|ValidationException|ResourceNotFoundException|UnrecognizedClientException|ExpiredTokenException",
    ),
    ("transient", r"ThrottlingException|ModelTimeoutException|ServiceUnavailableException|ModelNotReadyException"),
    # Ollama
    ("permanent", r"model ['\"]?[\w.:/-]+['\"]? not found"),
)


def model_failure(code: grpc.StatusCode, details: str) -> Failure:
    """What a failed Converse call comes to.

    Args:
        code: status of the call to the sidecar.
        details: its text, with the provider's words in it.
    """
    if code == grpc.StatusCode.DEADLINE_EXCEEDED or "context deadline exceeded" in details.lower():
        return Failure(
            "transient", "the model did not answer within spec.model.timeout; raise it if the model needs longer", cause="charged"
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return Failure(
            "permanent", f"the sidecar refuses the conversation API: {details}; allow conversation/v1alpha2 in its Configuration"
        )
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return Failure("permanent", f"the conversation or the answer is larger than Dapr's message limit: {details}")
    if code != grpc.StatusCode.INTERNAL:
        # The sidecar itself speaks: it is away, or the Component is not there yet.
        return Failure("transient", details)
    return Failure(_kind(details), details)


def _kind(details: str) -> FailureKind:
    for kind, pattern in _WORDS:
        if re.search(pattern, details, re.IGNORECASE):
            return kind
    status = _STATUS.search(details)
    if status is None:
        return "transient"
    number = int(status.group(1))
    return "transient" if number >= 500 or number in _TRANSIENT_STATUSES else "permanent"  # noqa: PLR2004 - HTTP's border
