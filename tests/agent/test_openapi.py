"""The OpenAPI document is well formed, and tells of everything that there is."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from holdfast_agent.http import openapi
from holdfast_agent.http.app import Server
from holdfast_agent.http.operations import OPERATIONS
from holdfast_agent.http.triggers import PATHS
from tests.agent.contracts import Contract

DOCUMENT = openapi.document("agent", token=True)


def _operations():
    return [(path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()]


def _references(part):
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def test_every_route_is_documented_and_every_documented_operation_has_a_route():
    routes = {(route.method, route.resource.canonical) for route in Server("agent", token=None, ready=None).app.router.routes()}
    told = {(method.upper(), path) for path, method, _ in _operations()}
    routes -= {("POST", path) for path in PATHS}  # Dapr's own, and nobody else's
    assert routes == told | {("HEAD", path) for method, path in told if method == "GET"}


def test_operations_have_names_of_their_own_and_tell_of_every_place_in_their_path():
    names = [operation["operationId"] for _, _, operation in _operations()]
    assert len(set(names)) == len(names) == len(OPERATIONS)
    for path, _, operation in _operations():
        places = [one for one in operation.get("parameters", ()) if one["in"] == "path"]
        assert {one["name"] for one in places} == set(re.findall(r"\{(\w+)\}", path))
        assert all(one["required"] for one in places)
        assert operation["summary"]
        assert operation["responses"]


@pytest.mark.parametrize(("path", "known"), [("cancel", {"reason", "by"}), ("approvals/{call}", {"approved", "reason", "by"})])
def test_bodies_tell_of_every_field_that_is_taken(path, known):
    [content] = DOCUMENT["paths"][f"/runs/{{id}}/{path}"]["post"]["requestBody"]["content"].values()
    assert set(content["schema"]["properties"]) == known


def test_every_reference_leads_somewhere_and_every_schema_is_one_and_is_used():
    schemas = DOCUMENT["components"]["schemas"]
    references = set(_references(DOCUMENT))
    assert references == {f"#/components/schemas/{name}" for name in schemas}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for _, _, operation in _operations():
        for parameter in operation.get("parameters", ()):
            jsonschema.Draft202012Validator.check_schema(parameter["schema"])


def test_whatever_needs_a_token_says_so_unless_nothing_does():
    open_ones = {operation["operationId"] for _, _, operation in _operations() if operation["security"] == []}
    assert open_ones == {"healthz", "readyz", "card"}
    free = openapi.document("agent", token=False)
    assert "securitySchemes" not in free["components"]
    assert all("401" not in operation["responses"] for methods in free["paths"].values() for operation in methods.values())


def test_the_docs_tell_of_every_operation():
    text = Path("docs/http-api.md").read_text()
    assert [operation.id for operation in OPERATIONS if f"`{operation.method} {operation.path}`" not in text] == []


def test_the_docs_tell_of_every_type_of_error_and_there_is_no_other_in_the_code():
    types = DOCUMENT["components"]["schemas"]["Error"]["properties"]["type"]["enum"]
    told = re.findall(r"^\| `([A-Z]\w+)` \|", Path("docs/http-api.md").read_text().partition("Types of errors:")[2], re.MULTILINE)
    assert sorted(told) == sorted(types)
    code = "\n".join(path.read_text() for path in Path("agent_image/holdfast_agent").glob("*.py"))
    made = set(re.findall(r"^[A-Z_]+: Final = \"((?:[A-Z][a-z]+)+)\"$", code, re.MULTILINE))
    assert made == set(types)


@pytest.mark.dapr
async def test_what_an_agent_answers_is_what_its_document_says(stage):
    search = {"name": "search", "arguments": {"city": "Paris"}}
    script = {
        "rules": [{"turns": [{"toolCalls": [search], "latency": "300ms"}, {"answer": "done", "latency": "300ms"}]}],
        "tools": {"search": {"result": "sunny", "faults": [{"status": 503}]}},
    }
    here = await stage(script, "search")
    api = await Contract.of(here.agent)
    assert api.document == openapi.document("agent", token=True)
    run = (await api.post("/run", {"task": "go", "session_id": "s", "id": "r"}, 202))["instance_id"]

    async def ended():
        await api.get(f"/runs/{run}/steps")
        await api.get(f"/v1.0/workflows/dapr/{run}")
        await api.get("/runs")
        return (await api.get(f"/runs/{run}"))["status"] != "RUNNING"

    await api.agent.until(ended, within=30)
    await api.post("/run?wait=30s", {"task": "go", "session_id": "s", "id": "r"})
    await api.post("/run", {"task": "other", "id": "r"}, 409)
    await api.post("/run", {"task": ""}, 422)
    await api.get("/runs/nobody", 404)
    await api.get("/sessions")
    await api.get("/sessions/s")
    assert await api.get("/triggers") == {"triggers": []}
    assert await api.get("/tools") == {"tools": [{"name": "search", "description": "A tool."}], "servers": []}
    assert await api.call("GET", f"/runs/{run}/events?last_event_id=end") == (204, "")
    status, stream = await api.call("GET", f"/runs/{run}/events")
    assert (status, stream.count("event: step"), stream.count("event: end")) == (200, 4, 1)
    audit = await api.get(f"/runs/{run}/audit")
    assert sorted(record["kind"] for record in audit["records"]) == ["decision", "decision", "end", "recall", "tool"]
    status, lines = await api.call("GET", f"/runs/{run}/audit?documents=true")
    assert json.loads(lines.splitlines()[0])["key"] == f"run/{run}"
    assert "holdfast_runs_total" in (await api.call("GET", "/metrics"))[1]
    for path in ("/healthz", "/readyz", "/openapi.json", "/.well-known/agent-card.json"):
        await api.get(path)
    assert (await api.call("POST", "/run", data=b"<task/>", headers={"Content-Type": "text/xml"}))[0] == 415
    assert (await api.call("POST", "/run", data=b"{", headers={"Content-Type": "application/json"}))[0] == 400
    assert (await api.call("GET", "/runs", headers={"Authorization": "Bearer wrong"}))[0] == 401
