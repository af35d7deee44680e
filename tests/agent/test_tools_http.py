"""HTTP tools: where arguments may go, what an answer means, and what is never followed, sent or read without bound."""

import asyncio
import gzip
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web

from holdfast_agent.outcome import Failure
from holdfast_agent.tools import Toolbox, ToolboxError, ToolResult, reply
from holdfast_agent.tools.redaction import hidden
from holdfast_agent.tools.url import UnusableArgument, UrlTemplate
from tests.agent.toolboxes import echo, http_config


def unusable(message):
    """An answer of whoever took the call, which gives the model nothing."""
    return Failure("permanent", message, reach="lost")


async def test_arguments_fill_the_path_and_the_rest_goes_into_the_query_of_get(serve, open_toolbox):
    schema = {
        "properties": {"city": {"type": "string"}, "day": {"type": "string"}, "stops": {"type": "array"}, "direct": {"type": "boolean"}}
    }
    box = await open_toolbox(f"{await serve(echo)}/flights/{{city}}?day={{day}}", inputSchema=schema)
    result = await box.call("t", {"city": "Rio de/Janeiro", "day": "1&2", "stops": ["a", 2], "direct": True}, key="run-1/3/0")
    seen = json.loads(result.content)
    assert seen["path"] == "/flights/Rio%20de%2FJaneiro?day=1%262&stops=a&stops=2&direct=true"
    assert (seen["method"], seen["body"]) == ("GET", "")
    assert seen["headers"]["Idempotency-Key"] == "run-1/3/0"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_the_rest_of_the_arguments_is_the_json_body_of_other_methods(serve, open_toolbox, method):
    schema = {"properties": {"city": {"type": "string"}, "seats": {"type": "integer"}}}
    box = await open_toolbox(f"{await serve(echo)}/{{city}}", method=method, inputSchema=schema)
    seen = json.loads((await box.call("t", {"city": "Zagreb", "seats": 2}, key="k")).content)
    assert (seen["method"], seen["path"], json.loads(seen["body"])) == (method, "/Zagreb", {"seats": 2})
    assert seen["headers"]["Content-Type"] == "application/json"


async def test_headers_come_from_the_configuration_and_from_secrets(serve, open_toolbox):
    source = [{"name": "Authorization", "env": "HOLDFAST_SECRET_X", "prefix": "Bearer "}]
    sent = []

    async def answer(request):
        sent.append(request.headers)
        return web.Response(text="fine")

    box = await open_toolbox(await serve(answer), environ={"HOLDFAST_SECRET_X": "s3cret\n"}, headers={"X-Team": "a"}, headersFrom=source)
    assert await box.call("t", {}, key="k") == ToolResult("fine")
    assert [(headers["Authorization"], headers["X-Team"]) for headers in sent] == [("Bearer s3cret", "a")]


async def test_a_secret_that_a_server_sends_back_does_not_come_back_to_the_model(serve, open_toolbox):
    secret = 'canary-"of"-the-secret'

    async def answer(request):
        if "fails" in request.query_string:
            return web.Response(status=500, text=f"you sent {request.headers['Authorization']}")
        return await echo(request)

    source = [{"name": "Authorization", "env": "KEY", "prefix": "Bearer "}]
    url = await serve(answer)
    box = await open_toolbox(url, environ={"KEY": secret}, headersFrom=source)
    assert json.loads((await box.call("t", {}, key="k")).content)["headers"]["Authorization"] == "Bearer …"
    box = await open_toolbox(f"{url}/fails?fails=1", environ={"KEY": secret}, headersFrom=source)
    assert (await box.call("t", {}, key="k")).message == "HTTP 500: you sent Bearer …"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("key-12345 and key-12345-long, key-1234", "… and …, key-1234"),
        ("the text is cut in key-123…", "the text is cut in …"),
        ("the text is cut in key-12345-lo…", "the text is cut in …"),
        ("the text is cut in ke…", "the text is cut in ke…"),
    ],
    ids=["whole", "cut", "cut in the longer one", "hardly begun"],
)
def test_secrets_are_hidden_also_where_a_text_was_cut_within_one(text, left):
    assert hidden(text, ("key-12345", "key-12345-long")) == left
    assert hidden(text, ()) == text


async def test_a_placeholder_is_shown_to_the_model_as_required(open_toolbox):
    box = await open_toolbox("http://127.0.0.1:9/{city}")
    assert box.specs[0].input_schema["required"] == ["city"]
    failure = await box.call("t", {}, key="k")
    assert failure == await box.check("t", {}) == Failure("permanent", "invalid arguments: 'city' is a required property", reach="unsent")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"city": 7}, "city: 7 is not of type 'string'"),
        ({"city": ""}, "city: is a part of the URL and must not be empty"),
        ({"city": ".."}, "would leave the path"),
        ({"city": "x/../../admin"}, "would leave the path"),
        ({"city": "..\\admin"}, "would leave the path"),
        (["Zagreb"], "must be a JSON object"),
    ],
)
async def test_arguments_that_do_not_fit_never_leave_the_agent(serve, open_toolbox, arguments, words):
    asked = []

    async def handler(request):
        asked.append(request)
        return web.Response()

    box = await open_toolbox(f"{await serve(handler)}/users/{{city}}/bookings")
    failure = await box.call("t", arguments, key="k")
    assert (failure.kind, failure.reach, words in failure.message, asked) == ("permanent", "unsent", True, []), failure


@pytest.mark.parametrize(
    "value", ["@evil.example", "//evil.example", "evil.example:80/", "?x=", "#", "%2e%2e", "a%2F..%2Fb", "\r\nHost: x", "é\u2028", "../x?"]
)
def test_an_argument_never_changes_host_folder_or_query(value):
    template = UrlTemplate.parse("http://api.example/v1/{city}/x?y={city}", {"city"})
    try:
        url = template.fill({"city": value}, rest_in_query=True)
    except UnusableArgument:
        return
    head, _, query = url.partition("?")
    assert head.startswith("http://api.example/v1/")
    assert head.endswith("/x")
    assert head.count("/") == 5
    assert url.count("?") == 1
    assert query.startswith("y=")
    assert not set(url) & set("#\r\n &\\")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://{city}.example/", "placeholder in the host"),
        ("http://api.example:{city}/", "placeholder in the host"),
        ("http://api.example/{town}", "inputSchema.properties has no 'town': add it there"),
        ("http://api.example/{city", "a brace without its partner"),
        ("http://api.example/a/../b", "has . or .. as a part of its path"),
        ("http://user:pw@api.example/", "send credentials by headersFrom"),
        ("ftp://api.example/", "must begin with http:// or https://"),
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_with_tool_and_fix(open_toolbox, url, words):
    with pytest.raises(ToolboxError) as caught:
        await open_toolbox(url)
    assert str(caught.value).startswith("tool 't': http.url")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("http", "words"),
    [
        ({"headersFrom": [{"name": "X-Key", "env": "HOLDFAST_SECRET_X"}]}, "header X-Key needs the environment variable HOLDFAST_SECRET_X"),
        ({"headers": {"idempotency-key": "1"}}, "header idempotency-key is sent with every call by itself"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "header X-A has a line break"),
        ({"inputSchema": {"properties": {"city": {"type": "town"}}}}, "http.inputSchema.properties.city.type is no JSON Schema: 'town'"),
        ({"inputSchema": {"properties": {"city": 3}}}, "http.inputSchema.properties.city is no JSON Schema"),
    ],
)
async def test_a_tool_that_cannot_work_is_refused_at_the_start(open_toolbox, http, words):
    with pytest.raises(ToolboxError) as caught:
        await open_toolbox("http://api.example/", **http)
    assert "tool 't': " in str(caught.value)
    assert words in str(caught.value)


async def test_a_schema_that_refers_elsewhere_looks_nothing_up(serve, open_toolbox):
    asked = []

    async def handler(request):
        asked.append(request)
        return web.json_response({})

    url = await serve(handler)
    box = await open_toolbox(url, inputSchema={"properties": {"city": {"$ref": f"{url}/city.json"}}})
    failure = await box.call("t", {"city": "Zagreb"}, key="k")
    assert "inputSchema refers to" in failure.message
    assert asked == []


async def test_a_tool_that_there_is_not_is_answered_with_those_there_are(open_toolbox):
    box = await open_toolbox("http://api.example/")
    told = Failure("permanent", "there is no tool 'u'; there are: t", reach="unsent")
    assert await box.call("u", {}, key="k") == await box.check("u", {}) == told


async def test_two_tools_of_one_name_are_refused():
    config = http_config("http://api.example/")
    with pytest.raises(ToolboxError, match="tool 't' is there twice"):
        await Toolbox.open(config.model_copy(update={"tools": config.tools * 2}), environ={})


NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (400, {}, Failure("permanent", "HTTP 400: no such city")),
        (404, {}, Failure("permanent", "HTTP 404: no such city")),
        (408, {}, Failure("transient", "HTTP 408: no such city")),
        (425, {}, Failure("transient", "HTTP 425: no such city")),
        (429, {"Retry-After": "17"}, Failure("transient", "HTTP 429: no such city", 17.0)),
        (429, {"Retry-After": "soon"}, Failure("transient", "HTTP 429: no such city")),
        (429, {"Retry-After": "-5"}, Failure("transient", "HTTP 429: no such city")),
        (429, {"Retry-After": "9" * 40}, Failure("transient", "HTTP 429: no such city", 86400.0)),
        (503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, Failure("transient", "HTTP 503: no such city", 86400.0)),
        (503, {"Retry-After": "Sat, 21 Nov 2026 12:01:30 GMT"}, Failure("transient", "HTTP 503: no such city", 90.0)),
        (503, {"Retry-After": "Sat, 21 Nov 2026 11:00:00 GMT"}, Failure("transient", "HTTP 503: no such city", 0.0)),
        (200, {}, ToolResult("no such\ncity")),
        (200, {"Content-Type": "text/html"}, ToolResult("no such\ncity")),
        (
            200,
            {"Content-Type": "application/json; charset=utf-8"},
            unusable("the answer calls itself JSON and is none (Expecting value: line 1 column 1 (char 0)): no such city"),
        ),
        (302, {}, unusable("HTTP 302: no such city")),
        (500, {}, Failure("transient", "HTTP 500: no such city")),
        (502, {}, Failure("transient", "HTTP 502: no such city", reach="lost")),
        (504, {}, Failure("transient", "HTTP 504: no such city", reach="lost")),
    ],
)
def test_a_status_decides_whether_it_may_succeed_later(status, headers, expected):
    assert reply.meaning(status, headers, b"no such\ncity", charset=None, now=NOW) == expected


def test_text_is_decoded_binary_is_refused_and_nothing_is_said_to_be_nothing():
    assert reply.meaning(200, {}, "žár".encode("iso-8859-2"), charset="iso-8859-2", now=NOW) == ToolResult("žár")
    assert reply.meaning(204, {}, b"", charset=None, now=NOW) == ToolResult("(HTTP 204 without content)")
    picture = reply.meaning(200, {"Content-Type": "image/png"}, b"\x89PNG\r\n\x1a\n\0\0", charset=None, now=NOW)
    assert picture == unusable("the answer is binary (image/png, 10 bytes); only text can be used")
    assert reply.meaning(200, {}, b"text\0text", charset=None, now=NOW).kind == "permanent"
    assert reply.meaning(500, {}, b"\xff\xfe\0", charset="no-such-charset", now=NOW) == Failure("transient", "HTTP 500")


def test_a_long_error_page_is_cut():
    failure = reply.meaning(500, {}, b"x" * 100_000, charset=None, now=NOW)
    assert len(failure.message) < 320


async def test_an_answer_that_is_too_long_is_refused_without_reading_it_all(serve, open_toolbox):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    box = await open_toolbox(await serve(endless))
    assert await box.call("t", {}, key="k") == unusable("HTTP 200 with more than 1024 KiB; ask for less")


async def test_a_compressed_answer_is_measured_as_it_unfolds(serve, open_toolbox):
    bomb = gzip.compress(b"\0" * (200 * 1024 * 1024))

    async def handler(_):
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})

    box = await open_toolbox(await serve(handler))
    failure = await box.call("t", {}, key="k")
    assert failure.kind == "permanent"
    assert "more than 1024 KiB" in failure.message


async def test_an_answer_that_never_ends_or_never_begins_is_given_up_in_time(serve, open_toolbox):
    async def dripping(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.01)

    async def silent(_):
        await asyncio.sleep(30)

    for handler in (dripping, silent):
        box = await open_toolbox(await serve(handler), timeout=0.3)
        assert await box.call("t", {}, key="k") == Failure("transient", "no complete answer within 0.3 s", reach="lost")


async def test_a_server_that_is_not_there_or_breaks_off_is_a_transient_failure(serve, open_toolbox):
    async def broken(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half of")
        request.transport.abort()
        return response

    for url, reach in (("http://127.0.0.1:9/", "unsent"), (await serve(broken), "lost")):
        failure = await (await open_toolbox(url)).call("t", {}, key="k")
        assert (failure.kind, failure.reach) == ("transient", reach)
        assert "cannot reach 127.0.0.1" in failure.message


async def test_cookies_of_one_call_are_not_sent_with_the_next(serve, open_toolbox):
    async def handler(request):
        response = web.json_response(request.headers.get("Cookie"))
        response.set_cookie("session", "1")
        return response

    box = await open_toolbox(await serve(handler))
    assert [await box.call("t", {}, key="k") for _ in range(2)] == [ToolResult("null")] * 2


async def test_a_key_that_no_header_can_hold_is_encoded(serve, open_toolbox):
    box = await open_toolbox(await serve(echo))
    seen = json.loads((await box.call("t", {}, key="run é\r\n/1/0")).content)
    assert seen["headers"]["Idempotency-Key"] == "run%20%C3%A9%0D%0A/1/0"
