"""Schemas that are none are told before there are pods, with the same verdict as the library that the agent uses."""

import time

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from holdfast_api import conditions
from holdfast_api.defaults import AgentDefaults
from holdfast_api.json_schema import flaw
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Refused, resolve

KEYWORDS = {
    *("$anchor", "$comment", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef", "$ref", "$schema"),
    *("$vocabulary", "additionalProperties", "allOf", "anyOf", "const", "contains", "contentEncoding", "contentMediaType", "contentSchema"),
    *("default", "definitions", "dependencies", "dependentRequired", "dependentSchemas", "deprecated", "description", "else", "enum"),
    *("examples", "exclusiveMaximum", "exclusiveMinimum", "format", "if", "items", "maxContains", "maxItems", "maxLength", "maxProperties"),
    *("maximum", "minContains", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "not", "oneOf", "pattern"),
    *("patternProperties", "prefixItems", "properties", "propertyNames", "readOnly", "required", "then", "title", "type"),
    *("unevaluatedItems", "unevaluatedProperties", "uniqueItems", "writeOnly", "x-our-own"),
}
VALUES = (
    *(None, True, 0, 1, -1, 1.0, 1.5, float("inf"), "", "x", "string", "(", "a#b", "a#", "1a", [], ["x"], ["x", "x"], ["string"]),
    *(["string", "null"], ["string", 1], [1], [{}], [True], [{}, 1], [{"type": "x"}], {}, {"a": {}}, {"a": 1}, {"a": True}, {"(": {}}),
    *({"a": ["x"]}, {"a": ["x", "x"]}, {"a": [1]}, {"a": {"type": "x"}}, {"type": "x"}, {"properties": {"a": {"maxLength": "5"}}}),
)
DEFAULTS = AgentDefaults.model_validate({"model": {"provider": "echo"}, "state": {"type": "state.in-memory"}})


def library(schema: object) -> bool:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return False
    return True


@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
def test_each_keyword_is_judged_as_the_library_judges_it(keyword: str) -> None:
    others = [value for value in VALUES if library({keyword: value}) != (flaw({keyword: value}) is None)]

    assert others == []


def test_every_keyword_of_the_draft_is_among_these() -> None:
    validator = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    # The meta-schema refers to its vocabularies; the library has them all in its registry.
    vocabularies = [validator._resolver.lookup(part["$ref"]).contents for part in Draft202012Validator.META_SCHEMA["allOf"]]
    known = {name for schema in (*vocabularies, Draft202012Validator.META_SCHEMA) for name in schema["properties"]}

    assert known <= KEYWORDS


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "strin"}, '.type is "strin": give one of array, boolean,'),
        ({"properties": {"city": {"type": ["string", "nil"]}}}, '.properties.city.type[1] is "nil": give one of'),
        ({"anyOf": [{}, {"required": "name"}]}, '.anyOf[1].required is "name": give a list of names'),
        ({"properties": {"a": 5}}, ".properties.a is 5: a JSON Schema is an object, or true or false"),
        ({"items": {"pattern": "(["}}, '.items.pattern is "([", which is no regular expression: unterminated character set'),
        ({"maxLength": -1}, ".maxLength is -1: give a whole number, 0 or more"),
        ({"required": ["a", "a"]}, '.required[1] is "a", which is there twice: name each once'),
    ],
)
def test_the_message_has_the_path_the_value_and_the_fix(schema: dict[str, object], told: str) -> None:
    with pytest.raises(Refused) as refused:
        resolve(parse_agent({"metadata": {"name": "a"}, "spec": {"output": {"schema": schema}}}), DEFAULTS, {})

    assert refused.value.reason == conditions.INVALID_SCHEMA
    assert refused.value.condition == conditions.ACCEPTED
    assert refused.value.message.startswith(f"spec.output.schema{told}")


def test_a_tools_schema_is_told_with_the_tool() -> None:
    tool = {"name": "find", "http": {"url": "http://x/", "inputSchema": {"properties": {"city": {"minLength": "3"}}}}}

    with pytest.raises(Refused) as refused:
        resolve(parse_agent({"metadata": {"name": "a"}, "spec": {"tools": [tool]}}), DEFAULTS, {})

    place = "spec.tools[0].http.inputSchema.properties.city.minLength"
    assert refused.value.message == f"tool 'find': {place} is \"3\": give a whole number, 0 or more"


def test_a_schema_of_any_size_and_depth_is_judged_at_once() -> None:
    deep: dict[str, object] = {}
    for _ in range(20_000):
        deep = {"not": deep}
    wide = {"properties": {f"p{number}": {"type": "string", "pattern": "(a|b)" * 20} for number in range(4000)}}
    began = time.process_time()

    assert flaw(deep) is None
    assert flaw(wide) is None
    assert time.process_time() - began < 5
