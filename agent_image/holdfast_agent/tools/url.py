"""URL templates: `https://host/flights/{destination}?class={cabin}`.

The arguments come from a model, so they are hostile: an argument may fill a part of the path or of the query and nothing else. It can
neither change the host nor leave the folder that the template names, whatever it holds and however it is encoded.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from holdfast_api.names import canonical

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DOTS = {".", ".."}


class UnusableArgument(ValueError):  # noqa: N818 - it reads as a verdict
    """An argument that must not go into the URL; the message is for the model."""


@dataclass(frozen=True)
class UrlTemplate:
    """A checked template.

    Attributes:
        base: scheme and authority.
        path: path with placeholders.
        query: query with placeholders, maybe empty.
        names: the arguments that it needs.
    """

    base: str
    path: str
    query: str
    names: frozenset[str]

    @classmethod
    def parse(cls, text: str, known: AbstractSet[str]) -> "UrlTemplate":
        """Check a template against the names of the arguments there are.

        Raises:
            ValueError: what is wrong with it and how to mend it.
        """
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"url {text!r} must begin with http:// or https:// and a host")
        if "{" in parts.netloc or "}" in parts.netloc:
            raise ValueError(f"url {text!r} has a placeholder in the host: arguments may only go into the path or the query")
        if parts.username is not None:
            raise ValueError("url has a user name in it: send credentials by headersFrom")
        found = set(_PLACEHOLDER.findall(parts.path + parts.query))
        if unknown := sorted(found - known):
            raise ValueError(f"url has {{{unknown[0]}}}, but inputSchema.properties has no {unknown[0]!r}: add it there")
        if set("{}") & set(_PLACEHOLDER.sub("", parts.path + parts.query)):
            raise ValueError(f"url {text!r} has a brace without its partner: write {{argument}}")
        if _climbs(_PLACEHOLDER.sub("x", parts.path)):
            raise ValueError(f"url {text!r} has . or .. as a part of its path: write the path without them")
        return cls(f"{parts.scheme}://{parts.netloc}", parts.path or "/", parts.query, frozenset(found))

    def fill(self, arguments: Mapping[str, Any], *, rest_in_query: bool) -> str:
        """The URL for these arguments, percent-encoded; those without a placeholder go into the query when asked.

        Raises:
            UnusableArgument: an argument is missing, or would lead to another place than the template says.
        """
        path = _PLACEHOLDER.sub(lambda match: self._segment(match.group(1), arguments), self.path)
        if _climbs(path):
            raise UnusableArgument("the arguments would leave the path of the URL: they must not be . or .. or hold /../")
        query = _PLACEHOLDER.sub(lambda match: quote(text(arguments.get(match.group(1))), safe=""), self.query)
        rest = _query({name: value for name, value in arguments.items() if name not in self.names}) if rest_in_query else ""
        joined = "&".join(part for part in (query, rest) if part)
        return f"{self.base}{path}" + (f"?{joined}" if joined else "")

    @staticmethod
    def _segment(name: str, arguments: Mapping[str, Any]) -> str:
        value = text(arguments.get(name))
        if not value:
            raise UnusableArgument(f"{name}: is a part of the URL and must not be empty")
        return quote(value, safe="")


def text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A JSON value as one writes it in a URL: strings bare, everything else as JSON, null as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical(value)


def _query(arguments: Mapping[str, Any]) -> str:
    pairs = []
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        pairs += [(name, text(item)) for item in values if item is not None]
    return urlencode(pairs)


def _climbs(path: str) -> bool:
    """Whether a server that decodes before it splits could see `.` or `..` as a part of this path."""
    return any(part in _DOTS for part in re.split(r"[/\\]", unquote(path)))
