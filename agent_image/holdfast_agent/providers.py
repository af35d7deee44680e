"""What a provider's error means. Dapr's Conversation API hands it on as text in an INTERNAL status, so text is what there is. Pure.

A permanent error is one that the very same request will meet again: it ends the run, or moves it to the next model, at once instead of
after minutes of retrying. Whatever is not recognised is transient, and transient is bounded. First match wins.
"""

import re
from typing import Final

import grpc

from holdfast_agent.outcome import Cause, Failure, FailureKind
from holdfast_api.config import ModelConfig

_STATUS: Final = re.compile(
    r"(?:status(?:[ _-]?code)?|http(?:/[0-9.]+)?(?: error)?|googleapi: error|error code|api error|^)\W{0,3}([45][0-9]{2})\b", re.IGNORECASE
)
_TRANSIENT_STATUSES: Final = frozenset({408, 409, 425, 429})
_AUTH_STATUSES: Final = frozenset({401, 403})
_KEYS: Final = re.compile(r"(?i:(api key provided:?|api[_ -]key:?|bearer)\s+)\S+|\b(?:(?:sk|pk|rk|gsk|xai|hf)[-_]|AIza)[\w*-]{8,}")

_WORDS: Final[tuple[tuple[FailureKind, Cause, str], ...]] = (
    # Too long, in the words of OpenAI and who speaks its protocol, Anthropic, Google, Bedrock, Hugging Face.
    (
        "permanent",
        "context",
        (
            r"context_length_exceeded|maximum context length|maximum context size|context window|ContextWindowExceeded|exceed_context_size"
            r"|available context size|string_above_max_length|request too large|request_too_large|prompt is too long|input is too long"
            r"|exceeds the maximum number of tokens|tokens` \+ `?max_new_tokens"
        ),
    ),
    # A key that is wrong, gone, or not good for this.
    (
        "permanent",
        "auth",
        (
            r"invalid_api_key|incorrect api key|authentication_error|permission_error|invalid x-api-key|API_KEY_INVALID|API key not valid"
            r"|PERMISSION_DENIED|AccessDeniedException|UnrecognizedClientException|ExpiredTokenException|InvalidSignatureException"
        ),
    ),
    # OpenAI, Azure and what speaks their protocol; a used-up quota comes as 429 but time does not mend it.
    (
        "permanent",
        "call",
        r"insufficient_quota|model_not_found|content_policy|content_filter|unsupported_(?:value|parameter)|DeploymentNotFound",
    ),
    ("transient", "call", r"rate_limit|overloaded_error|server_error|engine is currently overloaded"),
    # Anthropic
    ("permanent", "call", r"not_found_error|credit balance is too low"),
    # Google
    ("transient", "call", r"RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED"),
    # Bedrock
    ("permanent", "call", r"ValidationException|ResourceNotFoundException"),
    ("transient", "call", r"ThrottlingException|ModelTimeoutException|ServiceUnavailableException|ModelNotReadyException"),
    # Ollama
    ("permanent", "call", r"model ['\"]?[\w.:/-]+['\"]? not found"),
)
_VAGUE: Final = r"invalid_request_error|INVALID_ARGUMENT"
"""Said of all that is wrong with a request, a wrong key among it; so the status comes before it."""


def model_failure(code: grpc.StatusCode, details: str, model: ModelConfig) -> Failure:
    """What a failed Converse call comes to.

    Args:
        code: status of the call to the sidecar.
        details: its text, with the provider's words in it.
        model: which was asked, for messages.
    """
    said = _KEYS.sub(lambda found: f"{found.group(1) or ''}[key]", details)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED or "context deadline exceeded" in details.lower():
        message = (
            f"the model {model.label} did not answer within spec.model.timeout ({model.timeout_seconds:g} s); raise it if it needs longer"
        )
        return Failure("transient", message, cause="silent", public=message)
    if code == grpc.StatusCode.UNIMPLEMENTED:
        message = f"the sidecar refuses the conversation API: {said}; allow conversation/v1alpha2 in its Configuration"
        return Failure("permanent", message, public=message)
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        message = f"the conversation or the answer is larger than Dapr's message limit (annotation dapr.io/max-body-size): {said}"
        return Failure("permanent", message, cause="context", public="the conversation or the answer is larger than Dapr's message limit")
    if code != grpc.StatusCode.INTERNAL:
        # The sidecar itself speaks: it is away, or the Component is not there yet.
        return Failure("transient", f"the model {model.label} cannot be asked: {said}", public=f"the model {model.label}: {code.name}")
    kind, cause = _meaning(details)
    found = _STATUS.search(details)
    public = _message(cause, f"status {found.group(1)}" if found else "its words are in the run's steps", model)
    return Failure(kind, _message(cause, said, model), cause=cause, public=public)


def _message(cause: Cause, said: str, model: ModelConfig) -> str:
    if cause == "context":
        return (
            f"the conversation is longer than the model {model.label} takes; spec.model.contextTokens is {model.context_tokens}, "
            f"lower it if the model takes less, so that runs are summed up in time: {said}"
        )
    if cause == "auth":
        return f"the model {model.label} does not accept {_key_of(model)}: {said}"
    return f"the model {model.label} failed: {said}"


def _key_of(model: ModelConfig) -> str:
    if model.secret is None:
        return f"the credentials of the Component {model.component!r}: check them there, or set spec.model.apiKeySecretRef"
    name, _, key = model.secret.partition("/")
    return f"the API key in Secret {name!r}, key {key!r} (spec.model.apiKeySecretRef): put a valid one there"


def _meaning(details: str) -> tuple[FailureKind, Cause]:
    for kind, cause, pattern in _WORDS:
        if re.search(pattern, details, re.IGNORECASE):
            return kind, cause
    found = _STATUS.search(details)
    status = int(found.group(1)) if found else None
    if status in _AUTH_STATUSES:
        return "permanent", "auth"
    if status is None:
        return ("permanent" if re.search(_VAGUE, details) else "transient"), "call"
    return ("transient" if status >= 500 or status in _TRANSIENT_STATUSES else "permanent"), "call"  # noqa: PLR2004 - HTTP's border
