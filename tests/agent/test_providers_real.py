"""Every provider of spec.model: a real sidecar takes the Component that Holdfast makes, and what reaches the provider is what was asked."""

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from dapr.conf import settings

from holdfast_agent.model import Answer, converse, user_message
from holdfast_agent.sidecar import Sidecar
from holdfast_api import names
from holdfast_api.dapr import component
from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Resolved, resolve

KEY = {"name": "keys", "key": "api"}
DEFAULTS = AgentDefaults.model_validate({"state": {"component": "store"}})


class Provider:
    """A server that answers in the words of OpenAI, or of Anthropic where it is asked so, and remembers what it was asked."""

    def __init__(self, url: str) -> None:
        self.url, self.asked = url, dict[str, dict[str, Any]]()

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = request.headers.get("api-key") or request.headers.get("x-api-key") or request.headers.get("Authorization", "")
        self.asked[body["model"]] = {"path": request.path_qs, "key": key.removeprefix("Bearer "), "temperature": body.get("temperature")}
        if request.path.endswith("/messages"):
            usage = {"input_tokens": 3, "output_tokens": 2}
            text = {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "stop_reason": "end_turn", "usage": usage}
            return web.json_response(text | {"content": [{"type": "text", "text": "hello"}]})
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        return web.json_response({"id": "c", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage})


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    listener = socket.create_server(("127.0.0.1", 0))
    found = Provider(f"http://127.0.0.1:{listener.getsockname()[1]}")
    app = web.Application()
    app.router.add_post("/{path:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield found
    finally:
        await runner.cleanup()


def made(**model: Any) -> Resolved:
    return resolve(parse_agent({"metadata": {"name": "agent"}, "spec": {"model": model}}), DEFAULTS, {})


@pytest.mark.dapr
async def test_each_provider_is_asked_for_its_model_with_its_key_at_its_address(start_dapr, sqlite_component, monkeypatch):
    async with provider() as server:
        speaking = {
            "openai": made(provider="openai", name="gpt-4.1", endpoint=f"{server.url}/v1", apiKeySecretRef=KEY, temperature=0.7),
            "azure": made(
                provider="azure", name="gpt-4o", endpoint=server.url, apiKeySecretRef=KEY, options={"apiVersion": "2025-04-01-preview"}
            ),
            "deepseek": made(provider="deepseek", name="deepseek-chat", endpoint=server.url, apiKeySecretRef=KEY, temperature=0.7),
            "huggingface": made(provider="huggingface", name="hf/m", endpoint=f"{server.url}/v1", apiKeySecretRef=KEY, temperature=0.7),
            "ollama": made(provider="ollama", name="llama", endpoint=f"{server.url}/v1", temperature=0.7),
            "anthropic": made(provider="anthropic", name="claude", endpoint=f"{server.url}/v1", apiKeySecretRef=KEY, temperature=0.7),
            "reasoning": made(provider="openai", name="gpt-5-mini", endpoint=f"{server.url}/v1", apiKeySecretRef=KEY, temperature=0.7),
            "echo": made(provider="echo"),
        }
        loaded = {
            "googleai": made(provider="googleai", name="gemini", apiKeySecretRef=KEY),
            "mistral": made(provider="mistral", name="large", apiKeySecretRef=KEY),
            "bedrock": made(
                provider="bedrock",
                name="anthropic.claude",
                options={"region": "eu-west-1"},
                optionsFrom=[{"name": "accessKey", "secretKeyRef": KEY}, {"name": "secretKey", "secretKeyRef": KEY}],
            ),
        }
        specs = {name: spec for found in (speaking | loaded).values() for name, spec in found.components.items()}
        # Without `ignoreErrors`: a Component that cannot start ends the sidecar, and this test.
        resources = [component(name, spec | {"ignoreErrors": False}, app_id="agent") for name, spec in specs.items()]
        hostile = {"OPENAI_MODEL": "stolen", "ANTHROPIC_MODEL": "stolen", "OLLAMA_MODEL": "stolen", "OPENAI_BASE_URL": "http://127.0.0.1:9"}
        for name, value in hostile.items():
            monkeypatch.setenv(name, value)
        dapr = await start_dapr([sqlite_component, *resources], environ={names.secret_env("keys", "api"): "the-key"})
        told = {"DAPR_HTTP_PORT": dapr.http_port, "DAPR_GRPC_PORT": dapr.grpc_port, "DAPR_API_TOKEN": dapr.app_environ["DAPR_API_TOKEN"]}
        for name, value in told.items():
            monkeypatch.setattr(settings, name, value)
        sidecar = Sidecar()
        try:
            await sidecar.wait_healthy()
            answers = {name: await converse(sidecar, found.config.model, messages=[user_message("hi")]) for name, found in speaking.items()}
        finally:
            await sidecar.close()

    assert {name: getattr(answer, "content", answer) for name, answer in answers.items()} == dict.fromkeys(speaking, "hello") | {
        "echo": "hi"
    }
    assert all(isinstance(answer, Answer) and answer.usage.tokens for answer in answers.values())
    told = {model: (call["path"], call["key"], call["temperature"]) for model, call in server.asked.items()}
    assert told == {
        "gpt-4.1": ("/v1/chat/completions", "the-key", 0.7),
        # Nothing is said of its temperature, and Dapr sends 0.
        "gpt-4o": ("/openai/deployments/gpt-4o/chat/completions?api-version=2025-04-01-preview", "the-key", 0),
        "deepseek-chat": ("/chat/completions", "the-key", 0.7),
        "hf/m": ("/v1/chat/completions", "the-key", 0.7),
        "llama": ("/v1/chat/completions", "ollama", 0.7),
        "claude": ("/v1/messages", "the-key", 0.7),
        # It takes none, whatever is said.
        "gpt-5-mini": ("/v1/chat/completions", "the-key", None),
    }
