"""What the agent's OpenAPI document promises, held against what it answers."""

import json
import re
from dataclasses import dataclass
from typing import Any, Self

import jsonschema

from tests.agent.agents import TOKEN, AgentProcess

JSON, PROBLEM = "application/json", "application/problem+json"


def strict(text: str | bytes) -> Any:
    """JSON as everybody reads it: Python's own reader takes Infinity and NaN."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@dataclass
class Contract:
    """The document of a running agent.

    Attributes:
        seen: (operation, status) of the answers that were held against it.
    """

    agent: AgentProcess
    document: dict[str, Any]
    seen: set[tuple[str, int]]

    @classmethod
    async def of(cls, agent: AgentProcess) -> Self:
        status, document = await agent.call("GET", "/openapi.json")
        assert status == 200
        return cls(agent, document, set())

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """The operation that a request is answered by."""
        found = self.find(method, path)
        if found is None:
            raise AssertionError(f"{method} {path} is not in the document")
        return found

    def find(self, method: str, path: str) -> dict[str, Any] | None:
        """The same, None where there is none."""
        for template, operations in self.document["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            if re.fullmatch(pattern, path.partition("?")[0]):
                found: dict[str, Any] | None = operations.get(method.lower())
                return found
        return None

    def check(self, method: str, path: str, status: int, media: str, text: str) -> None:
        """Hold one answer against the document."""
        operation = self.operation(method, path)
        assert str(status) in operation["responses"], f"{method} {path} answered {status}: {text[:500]}"
        self.seen.add((operation["operationId"], status))
        content = operation["responses"][str(status)].get("content")
        if content is None:
            assert text == ""
            return
        assert media in content, (media, list(content))
        schema = content[media]["schema"]
        if schema.get("type") == "string":
            return
        whole = {"components": self.document["components"], **schema}
        jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(strict(text))

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON of a request whose answer is held against the document."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
        async with self.agent.session.request(method, self.agent.url + path, headers=headers, **options) as response:
            text = await response.text()
            self.check(method, path, response.status, response.content_type, text)
            return response.status, strict(text) if response.content_type in (JSON, PROBLEM) and text else text

    async def get(self, path: str, status: int = 200) -> Any:
        found, answer = await self.call("GET", path)
        assert found == status, answer
        return answer

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        found, answer = await self.call("POST", path, json=body)
        assert found == status, answer
        return answer
