"""The tools of one server as a model may see them: under names that providers take, few enough, small enough. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jsonschema.protocols import Validator

from holdfast_agent.tools.mcp import schema
from holdfast_agent.tools.mcp.wire import short
from holdfast_agent.tools.redaction import hidden, hidden_within
from holdfast_agent.tools.spec import ToolSpec
from holdfast_api.names import MCP_SEPARATOR, canonical, digest

MAX_FUNCTIONS: Final = 128
"""As many as OpenAI takes in one request."""
MAX_LISTED: Final = 10_000
"""Entries of a list that are looked at."""
MAX_BYTES: Final = 512 * 1024
"""All schemas and descriptions together: every turn of the model carries them."""
MAX_NAME: Final = 64
_MAX_REMOTE: Final = 256
_MAX_DESCRIPTION: Final = 4096
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_HASH: Final = 8
_TOLD: Final = 5


@dataclass(frozen=True)
class Function:
    """One tool of a server.

    Attributes:
        remote: its name there.
        spec: what the model sees.
        digest: of all that the server says of it.
        check: of its arguments; see `schema.problem`.
    """

    remote: str
    spec: ToolSpec
    digest: str
    check: Validator = field(compare=False)


def function_name(item: str, remote: str) -> str:
    """What the model calls a tool: the same for the same tool, whatever else is listed. No two tools have one name but by intent."""
    room = MAX_NAME - len(item) - len(MCP_SEPARATOR)
    plain = _NO_NAME.sub("_", remote)
    if plain != remote or len(plain) > room:
        mark = hashlib.sha256(remote.encode(errors="surrogatepass")).hexdigest()[:_HASH]
        plain = f"{plain[: room - _HASH - 1]}_{mark}"
    return f"{item}{MCP_SEPARATOR}{plain}"


class Reader:
    """Reads a server's list, page by page."""

    def __init__(
        self,
        item: str,
        allow: frozenset[str] | None,
        description: str | None,
        *,
        known: Mapping[str, Function] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        """Nothing is read yet.

        Args:
            item: name of the tool in the configuration.
            allow: names there that may be called; None: all.
            description: of the item, told with each function.
            known: the functions before; what did not change is not checked anew.
            secrets: what was sent to the server, and is told to nobody else should it be in the list.
        """
        self._secrets = secrets
        self._known = known or {}
        self._item, self._allow, self._about = item, allow, f"{description}\n" if description else ""
        self._seen: set[str] = set()
        self._bytes = self._listed = 0
        self.functions: dict[str, Function] = {}
        self.problems: list[str] = []
        self._refused = 0

    @property
    def enough(self) -> bool:
        """Whether nothing more can come of the list."""
        if self._allow is not None and self._seen >= self._allow:
            return True
        return len(self.functions) >= MAX_FUNCTIONS or self._listed >= MAX_LISTED

    def add(self, page: list[Any]) -> None:
        """Read a page. Takes as long as the schemas are; touches nothing else."""
        for tool in page:
            if self.enough:
                self._note("not all tools of the server were looked at: name those that are needed in allow")
                return
            self._listed += 1
            name = tool.get("name") if isinstance(tool, dict) else None
            if not isinstance(name, str) or not 0 < len(name) <= _MAX_REMOTE:
                self._note("a tool has no usable name")
            elif (self._allow is None or name in self._allow) and name not in self._seen:
                self._seen.add(name)
                try:
                    self._take(name, tool)
                except ValueError as error:
                    self._note(f"{short(hidden(name, self._secrets))}: {error}")

    def missing(self) -> None:
        """Once all is read: say what `allow` names and the server does not have."""
        for name in sorted((self._allow or frozenset()) - self._seen):
            self._note(f"{short(name)}: allow names it, and the server does not list it")

    def summary(self) -> str:
        """What is left out, and why, in one line; empty if nothing is."""
        more = self._refused - len(self.problems)
        return "; ".join([*self.problems, *([f"and {more} more"] if more > 0 else [])])

    def _take(self, remote: str, tool: Mapping[str, Any]) -> None:
        if hidden(remote, self._secrets) != remote:
            raise ValueError("a secret that is sent to the server is in its name")
        whole = schema.usable(tool.get("inputSchema", {"type": "object"}))
        if (rid := hidden_within(whole, self._secrets)) != whole:
            whole = schema.usable(rid)
        about = tool.get("description") or tool.get("title")
        told = self._about + (hidden(about, self._secrets)[:_MAX_DESCRIPTION] if isinstance(about, str) else "")
        spec = ToolSpec(function_name(self._item, remote), told.strip().encode(errors="replace").decode(), schema.shown(whole))
        if spec.name in self.functions:
            raise ValueError("another tool is called the same")
        size = len(spec.description) + len(canonical(whole))
        if self._bytes + size > MAX_BYTES:
            raise ValueError(f"all tools together are longer than {MAX_BYTES // 1024} KiB: name those that are needed in allow")
        said, known = digest([spec.description, whole], 64), self._known.get(spec.name)
        same = known is not None and (known.remote, known.digest) == (remote, said)
        self.functions[spec.name] = known if known and same else Function(remote, spec, said, schema.checker(whole))
        self._bytes += size

    def _note(self, problem: str) -> None:
        self._refused += 1
        if len(self.problems) < _TOLD:
            self.problems.append(hidden(problem, self._secrets))
