"""The OpenAPI document, made from the operations. Pure."""

from typing import Any

from holdfast_agent.http.fields import Field
from holdfast_agent.http.operations import OPERATIONS, Answer, Operation
from holdfast_agent.http.problems import CONTENT_TYPE
from holdfast_agent.http.requests import body_schema
from holdfast_agent.http.shapes import SCHEMAS, ref
from holdfast_api import names

Document = dict[str, Any]
_PROBLEMS = {
    400: "The body is no JSON, or it is ambiguous.",
    401: "The token is missing or wrong.",
    404: "There is no such thing.",
    409: "It does not go together with what is.",
    413: "The body or the task is too large.",
    415: "The body is not sent as JSON.",
    422: "A field or a parameter is not what it should be.",
    429: "There is too much at once; Retry-After says when to ask again.",
    503: "The agent, its sidecar or its store is not there; Retry-After says when to ask again.",
}


def document(name: str, *, token: bool) -> Document:
    """The whole document.

    Args:
        name: of the agent.
        token: whether callers must send one.
    """
    paths: Document = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, token=token)
    schemes = {"bearer": {"type": "http", "scheme": "bearer"}, "dapr": {"type": "apiKey", "in": "header", "name": "dapr-api-token"}}
    components = {"schemas": SCHEMAS} | ({"securitySchemes": schemes} if token else {})
    info = {"title": name, "version": names.VERSION}
    tags = sorted({operation.tag for operation in OPERATIONS})
    return {"openapi": "3.1.0", "info": info, "tags": [{"name": tag} for tag in tags], "paths": paths, "components": components}


def _operation(operation: Operation, *, token: bool) -> Document:
    answers = {str(status): _answer(answer) for status, answer in operation.answers.items()}
    problems = {str(status): _problem(status) for status in operation.all_errors if token or status != 401}  # noqa: PLR2004 - HTTP
    parameters = [
        *(_parameter(field, "path") for field in operation.place),
        *(_parameter(field, "query") for field in operation.query),
        *(_parameter(field, "header") for field in operation.headers),
    ]
    found: Document = {"operationId": operation.id, "summary": operation.summary, "tags": [operation.tag]}
    found |= {"parameters": parameters} if parameters else {}
    if operation.body is not None:
        required = any(field.required for field in operation.body)
        found["requestBody"] = {"required": required, "content": {"application/json": {"schema": body_schema(operation.body)}}}
    found["responses"] = dict(sorted((answers | problems).items()))
    if token:
        found["security"] = [] if operation.open else [{"bearer": []}, {"dapr": []}]
    return found


def _parameter(field: Field, where: str) -> Document:
    schema = {name: value for name, value in field.schema.items() if name != "description"}
    return {"name": field.name, "in": where, "required": field.required, "description": field.schema["description"], "schema": schema}


def _answer(answer: Answer) -> Document:
    found: Document = {"description": answer.description}
    if answer.schema is None:
        return found
    content = {answer.media: {"schema": answer.schema}} | ({answer.also: {"schema": {"type": "string"}}} if answer.also else {})
    return found | {"content": content}


def _problem(status: int) -> Document:
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}} if status in (429, 503) else {}
    found: Document = {"description": _PROBLEMS[status], "content": {CONTENT_TYPE: {"schema": ref("Problem")}}}
    return found | ({"headers": retry} if retry else {})
