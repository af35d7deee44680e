"""What others send back is rid of the secrets that were sent to them: a model's provider and the store must not get them. Pure.

Known again is a secret as it is, as JSON writes it (also JSON in JSON), as HTML does, percent-encoded, in hex, and in base64 with either
alphabet, wherever in a longer text it stood when that was encoded. What somebody transforms otherwise is not known: docs/security.md.
"""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, quote_plus

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.spec import ToolResult
from holdfast_api.config import HttpToolConfig, McpToolConfig

_CUT: Final = "…"
_LEAST_OF_ONE: Final = 4
"""Characters of a secret at the end of a text that was cut; fewer may be chance and tell little."""
_LEAST_ENCODED: Final = 8
"""Characters of an encoded secret: what is shorter comes up in other texts by chance."""
_REMEMBERED: Final = 64


def secrets_of(config: HttpToolConfig | McpToolConfig, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of `headersFrom`, without their prefixes. Call it once `secret_headers` found them all."""
    return tuple(environ[source.env].strip() for source in config.headers_from)


def hidden(text: str, secrets: Sequence[str]) -> str:
    """The text with `…` for each secret in any form that is known again, and for one that the end of the text was cut within."""
    for form in _forms(tuple(secrets)):
        text = text.replace(form, _CUT)
        if text.endswith(_CUT):
            kept = text.removesuffix(_CUT)
            text = kept[: len(kept) - _begun(kept, form)] + _CUT
    return text


def _begun(text: str, form: str) -> int:
    """How many characters at the end of a text begin a form and are not all of it. Looked is only where it may begin: forms may be long."""
    end = text[max(0, len(text) - len(form) + 1) :]
    at = end.find(form[:_LEAST_OF_ONE])
    while at >= 0 and not form.startswith(end[at:]):
        at = end.find(form[:_LEAST_OF_ONE], at + 1)
    return len(end) - at if at >= 0 else 0


def hidden_within(value: Any, secrets: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON value
    """The same JSON value with each of its texts, names of fields too, hidden as `hidden` does. It must not be nested deeply."""
    if isinstance(value, str):
        return hidden(value, secrets)
    if isinstance(value, list):
        return [hidden_within(each, secrets) for each in value]
    if isinstance(value, dict):
        return {hidden(name, secrets): hidden_within(each, secrets) for name, each in value.items()}
    return value


def without(outcome: ToolResult | Failure, secrets: Sequence[str]) -> ToolResult | Failure:
    """What a call came to, with its secrets hidden."""
    if isinstance(outcome, Failure):
        return replace(outcome, message=hidden(outcome.message, secrets))
    return ToolResult(hidden(outcome.content, secrets))


@lru_cache(maxsize=_REMEMBERED)
def _forms(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """All that is looked for, the longest first: a form may be within another one."""
    found = {form for secret in secrets if secret for form in (secret, *_written(secret))}
    found |= {form for secret in secrets for form in _encoded(secret.encode(errors="replace")) if len(form) >= _LEAST_ENCODED}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def _written(secret: str) -> Iterator[str]:
    """As JSON, HTML and URLs write it: where nothing in it is special to them, that is the secret itself."""
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    escaped |= {form.replace("/", "\\/") for form in escaped}
    yield from escaped
    yield from (json.dumps(form, ensure_ascii=False)[1:-1] for form in escaped)
    yield from (html.escape(secret), html.escape(secret, quote=False))
    for quoted in (quote(secret, safe="", errors="replace"), quote(secret, errors="replace"), quote_plus(secret, errors="replace")):
        yield quoted
        yield _with_small_digits(quoted)


def _encoded(data: bytes) -> Iterator[str]:
    """In hex, with each byte percent-encoded, and in base64: of the characters there, those that nothing before or after it changes."""
    yield from (data.hex(), data.hex().upper())
    yield from ("".join(f"%{byte:02x}" for byte in data), "".join(f"%{byte:02X}" for byte in data))
    for before in range(3):
        bits = 8 * before
        text = base64.b64encode(bytes(before) + data).decode()[-(-bits // 6) : (bits + 8 * len(data)) // 6]
        yield text
        yield text.replace("+", "-").replace("/", "_")


def _with_small_digits(quoted: str) -> str:
    first, *rest = quoted.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])
