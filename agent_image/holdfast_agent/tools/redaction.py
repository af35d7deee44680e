"""What others send back is rid of the secrets that were sent to them: a model's provider and the store must not get them. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.spec import ToolResult
from holdfast_api.config import HttpToolConfig, McpToolConfig

_CUT: Final = "…"
_LEAST_OF_ONE: Final = 4
"""Characters of a secret at the end of a text that was cut; fewer may be chance and tell little."""


def secrets_of(config: HttpToolConfig | McpToolConfig, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of `headersFrom`, without their prefixes. Call it once `secret_headers` found them all."""
    return tuple(environ[source.env].strip() for source in config.headers_from)


def hidden(text: str, secrets: Sequence[str]) -> str:
    """The text with `…` for each secret, as it is and as JSON writes it, and for one that the end of the text was cut within."""
    forms = {form for secret in secrets for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, _CUT)
        if text.endswith(_CUT):
            kept = text.removesuffix(_CUT)
            begun = (size for size in range(len(form) - 1, _LEAST_OF_ONE - 1, -1) if kept.endswith(form[:size]))
            text = kept[: len(kept) - next(begun, 0)] + _CUT
    return text


def without(outcome: ToolResult | Failure, secrets: Sequence[str]) -> ToolResult | Failure:
    """What a call came to, with its secrets hidden."""
    if isinstance(outcome, Failure):
        return replace(outcome, message=hidden(outcome.message, secrets))
    return ToolResult(hidden(outcome.content, secrets))
