"""What a server sends, read without one: events, messages, lists, schemas, results."""

import json
import subprocess
import sys
import time

import pytest

from holdfast_agent.model import tool_declarations
from holdfast_agent.outcome import Failure
from holdfast_agent.tools import ToolResult
from holdfast_agent.tools.mcp import schema, wire
from holdfast_agent.tools.mcp.catalogue import MAX_FUNCTIONS, Reader, function_name
from holdfast_agent.tools.mcp.content import meaning
from holdfast_agent.tools.mcp.events import EventReader
from holdfast_agent.tools.mcp.wire import McpError

OBJECT = {"type": "object", "properties": {"city": {"type": "string"}}}


def test_who_has_no_mcp_tool_does_not_load_what_they_need():
    code = "import sys, holdfast_agent.program; print(any('.tools.mcp' in name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def _tool(name, **more):
    return {"name": name, "inputSchema": OBJECT} | more


def _read(*tools, allow=None):
    reader = Reader("maps", allow, None)
    reader.add(list(tools))
    return reader


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_are_the_same_however_their_bytes_are_cut(size):
    stream = b': hello\nevent: message\ndata: {"a":\r\ndata: 1}\r\n\r\nid: 7\nretry: 5\n\nevent: endpoint\ndata: /x\n\n'
    reader, events = EventReader(), []
    for start in range(0, len(stream), size):
        events += reader.feed(stream[start : start + size])
    assert [(event.kind, event.data) for event in events] == [("message", '{"a":\n1}'), ("endpoint", "/x")]
    assert reader.last_id == "7"


def _flood(reader, chunk):
    for _ in range(200):
        list(reader.feed(chunk))


@pytest.mark.parametrize(
    "chunk", [b"data: " + b"x" * 65536, b"data: " + b"x" * 4096 + b"\n", b": ping\n\n" * 9000], ids=["line", "event", "stream"]
)
def test_an_event_and_a_stream_without_an_end_are_given_up(chunk):
    with pytest.raises(McpError, match="KiB"):
        _flood(EventReader(), chunk * 8)


@pytest.mark.parametrize("text", ["", "{", "[1]", "NaN", '{"a": NaN}', "[" * 100_000])
def test_what_is_no_message_is_a_failure_that_may_have_had_an_effect(text):
    with pytest.raises(McpError) as caught:
        wire.read(text)
    assert (caught.value.failure.kind, caught.value.failure.reach) == ("permanent", "lost")


@pytest.mark.parametrize(
    ("code", "kind"), [(-32603, "transient"), (-32000, "transient"), (-32602, "permanent"), (0, "permanent"), ("x", "permanent")]
)
def test_an_error_passes_if_its_code_says_that_the_server_is_to_blame(code, kind):
    with pytest.raises(McpError) as caught:
        wire.result({"id": 1, "error": {"code": code, "message": "secret words"}})
    assert caught.value.failure.kind == kind
    assert "secret" in caught.value.failure.message
    assert "secret" not in caught.value.failure.public


def test_an_error_with_half_a_surrogate_pair_can_be_stored():
    with pytest.raises(McpError) as caught:
        wire.result(wire.read('{"id": 1, "error": {"code": -32602, "message": "bad \\ud800"}}')[0])
    assert caught.value.failure.message == "JSON-RPC error -32602: bad ?"


def test_names_are_what_providers_take_and_tell_tools_apart():
    remotes = ["route", "places.find", "places_find", "x" * 100, "x" * 100 + "y", "straße", "a b", "", "🙂" * 80]
    called = [function_name("maps", remote) for remote in remotes]
    assert len(set(called)) == len(called)
    assert all(len(name) <= 64 and name.isascii() and name.replace("-", "_").isidentifier() for name in called)
    assert called[0] == "maps__route"
    assert len(function_name("m" * 40, "z" * 300)) == 64


def test_a_name_goes_into_a_header_as_it_is_or_encoded():
    assert [wire.header_value(name) for name in ("find near/by", "ß", " x", "=?base64?x")] == [
        "find near/by",
        "=?base64?w58=?=",
        "=?base64?IHg=?=",
        "=?base64?PT9iYXNlNjQ/eA==?=",
    ]


def test_a_list_of_anything_gives_what_can_be_used_and_says_why_the_rest_cannot():
    deep = {"type": "object", "properties": {}}
    for _ in range(50):
        deep = {"type": "object", "properties": {"x": deep}}
    odd = [7, None, {}, {"name": 5}, _tool(""), _tool("deep", inputSchema=deep), _tool("array", inputSchema={"type": "array"})]
    odd += [_tool("half", inputSchema={"type": "object", "title": "\ud800"}), _tool("none", inputSchema=None)]
    odd += [
        _tool("huge", inputSchema={"type": "object", "description": "x" * 70_000}),
        _tool("wrong", inputSchema={"type": "object", "required": 1}),
    ]
    odd += [_tool("spaced", inputSchema={"type": "object", "properties": {"a b": {}}})]
    odd += [_tool("large", inputSchema={"type": "object", "maximum": 10**400}), _tool("odd", description=["no text"])]
    reader = _read(*odd, _tool("route", description="half \ud800"), _tool("route", description="again"))
    assert list(reader.functions) == ["maps__odd", "maps__route"]
    assert "a tool has no usable name" in reader.summary()
    assert "and 8 more" in reader.summary()
    tool_declarations(function.spec for function in reader.functions.values())[0].SerializeToString()


def test_of_a_hundred_thousand_tools_as_many_are_taken_as_a_provider_takes_and_allowed_ones_are_found_among_many():
    began = time.monotonic()
    many = [_tool(f"t{number}") for number in range(100_000)]
    reader = _read(*many)
    assert len(reader.functions) == MAX_FUNCTIONS
    assert "allow" in reader.summary()
    found = _read(*many, allow=frozenset({"t9000", "t9001"}))
    assert list(found.functions) == ["maps__t9000", "maps__t9001"]
    assert time.monotonic() - began < 10


def test_what_allow_names_and_the_server_does_not_have_is_told():
    reader = _read(_tool("route"), _tool("delete_all"), allow=frozenset({"route", "distance"}))
    reader.missing()
    assert list(reader.functions) == ["maps__route"]
    assert reader.summary() == "distance: allow names it, and the server does not list it"


@pytest.mark.parametrize(
    "part",
    [
        {"pattern": "^(a+)+$"},
        {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        {"$ref": "#"},
        {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {}}, "$ref": "#/$defs/d0"},
    ],
    ids=["regex", "properties", "itself", "doubling"],
)
def test_a_schema_that_takes_for_ever_does_not(part):
    whole = {"type": "object", "properties": {"x": part}} | part
    began = time.monotonic()
    schema.problem(schema.checker(schema.usable(whole)), {"x": "a" * 40 + "!", "a" * 40 + "!": 1})
    assert time.monotonic() - began < 5


def test_arguments_are_held_against_all_of_a_schema_of_which_a_provider_sees_what_it_accepts():
    whole = schema.usable({"$schema": "http://json-schema.org/draft-07/schema#", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})
    assert schema.shown(whole) == {"type": "object", "properties": {}}
    check = schema.checker(whole)
    assert schema.problem(check, {"a": 1}) is None
    assert schema.problem(check, {"c": 1})
    nested = {"type": "object", "properties": {"a": {"type": "array"}, "b": {"type": "array", "items": {"type": "array"}}}}
    assert schema.shown(nested)["properties"] == {
        "a": {"type": "array", "items": {}},
        "b": {"type": "array", "items": {"type": "array", "items": {}}},
    }


TEXT = {"type": "text", "text": "hello"}
RESULTS = {
    "text": ({"content": [TEXT, TEXT]}, "hello\nhello"),
    "nothing": ({}, "(no content)"),
    "structured": ({"content": [], "structuredContent": {"km": 3}}, '{"km":3}'),
    "both-the-same": ({"content": [{"type": "text", "text": '{"km": 3}'}], "structuredContent": {"km": 3}}, '{"km": 3}'),
    "wrapped": ({"content": [{"type": "text", "text": "3"}], "structuredContent": {"result": 3}}, "3"),
    "both-different": ({"content": [TEXT], "structuredContent": {"km": 3}}, 'hello\n{"km":3}'),
    "image": (
        {"content": [{"type": "image", "mimeType": "image/png", "data": "QUJD"}]},
        "(image, image/png, about 3 bytes; it is not shown)",
    ),
    "link": ({"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}]}, "(a link, a: file:///a)"),
    "resource": ({"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "words"}}]}, "file:///a:\nwords"),
    "unknown": ({"content": [{"type": "hologram"}, 5]}, "(content of the kind hologram, which is not shown)"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_text_and_what_is_none_is_described(name):
    given, told = RESULTS[name]
    assert meaning(given) == ToolResult(told)


@pytest.mark.parametrize(
    ("given", "words", "reach"),
    [
        ({"isError": True, "content": [TEXT]}, "hello", "answered"),
        ({"isError": True}, "says that it failed", "answered"),
        ({"content": "text"}, "no list of content", "lost"),
        ({"content": [{"type": "text", "text": "x" * 2_000_000}]}, "1024 KiB", "lost"),
        ({"resultType": "input_required"}, "cannot give", "lost"),
    ],
)
def test_a_result_that_is_none_is_a_failure(given, words, reach):
    failure = meaning(json.loads(json.dumps(given)))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reach, words in failure.message) == ("permanent", reach, True)
