"""Secrets that come back are known again in the forms that servers, libraries and hostile answers write them in."""

import base64
import html
import json
import random
import time
from urllib.parse import quote, quote_plus

import pytest

from holdfast_agent.outcome import Failure
from holdfast_agent.tools import ToolResult
from holdfast_agent.tools.mcp.catalogue import Reader
from holdfast_agent.tools.redaction import hidden, hidden_within, without

SECRET = 'Tä/"canary"+of <the> secret?~9'
BYTES = SECRET.encode()
WRITTEN = {
    "plain": SECRET,
    "json": json.dumps(SECRET),
    "json-utf8": json.dumps(SECRET, ensure_ascii=False),
    "json-of-php": json.dumps(SECRET).replace("/", "\\/"),
    "json-in-json": json.dumps(json.dumps(SECRET)),
    "html": html.escape(SECRET),
    "percent": quote(SECRET, safe=""),
    "percent-path": quote(SECRET),
    "percent-form": quote_plus(SECRET),
    "percent-small": quote(SECRET, safe="").replace("%C3", "%c3").replace("%A4", "%a4").replace("%2F", "%2f").replace("%2B", "%2b")
    .replace("%3C", "%3c").replace("%3E", "%3e").replace("%3F", "%3f").replace("%7E", "%7e"),
    "percent-all": "".join(f"%{byte:02X}" for byte in BYTES),
    "hex": BYTES.hex(),
    "hex-large": BYTES.hex().upper(),
}  # fmt: skip


@pytest.mark.parametrize("form", WRITTEN)
def test_a_secret_is_hidden_however_it_is_written(form):
    assert hidden(f"before {WRITTEN[form]} after", (SECRET,)) in ("before … after", 'before "…" after', 'before "\\"…\\"" after')


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["std", "url"])
def test_a_secret_is_hidden_wherever_it_stood_in_what_was_encoded_in_base64(encode):
    draw = random.Random(7)
    for length in range(12):
        before, after = draw.randbytes(length), draw.randbytes(draw.randrange(12))
        text = encode(before + BYTES + after).decode()
        left = hidden(text, (SECRET,))
        assert "…" in left, length
        # At most the two characters on either side that hold bits of something else, too.
        start, end = left.split("…")
        assert len(start) <= -(-8 * length // 6)
        assert len(start) + len(end) <= len(text) - 8 * len(BYTES) // 6 + 2
    assert hidden(base64.b64encode(b"user:" + BYTES).decode(), (SECRET,)).startswith("dXNlcjp")


def test_texts_in_which_no_secret_is_are_left_as_they_are():
    draw = random.Random(11)
    text = base64.b64encode(draw.randbytes(30_000)).decode() + draw.randbytes(3_000).hex()
    for secret in (SECRET, "abc", "k", "0"):
        assert hidden(text, (secret,)) == text.replace(secret, "…")
    assert hidden(text, ()) == text


def test_results_failures_and_json_are_rid_of_secrets():
    assert without(ToolResult(f"it is {BYTES.hex()}"), (SECRET,)) == ToolResult("it is …")
    assert without(Failure("permanent", f"it is {SECRET}"), (SECRET,)).message == "it is …"
    held = {"a": [1, None, f"x{SECRET}"], SECRET: {"b": True}}
    assert hidden_within(held, (SECRET,)) == {"a": [1, None, "x…"], "…": {"b": True}}


def test_what_begins_a_secret_at_the_end_of_a_text_that_was_cut_is_hidden():
    secret = "abcab" * 3
    ends = ((14, 0), (6, 0), (4, 0), (3, 3), (0, 0))
    for size, left in ends:
        assert hidden(f"x {secret[:size]}…", (secret,)) == f"x {secret[:left]}…", size
        assert hidden(f"abca {secret[:size]}…", (secret,)) == f"abca {secret[:left]}…", size
    assert hidden(f"{secret[:4]}…", (secret,)) == "…"
    assert hidden("abc…", ("a", "abc")) == "……"


def test_a_long_secret_is_looked_for_at_the_end_of_many_texts_in_little_time():
    secret = "".join(random.Random(3).choices("abcdefgh", k=64_000))
    texts = [*(f"{secret[7:size]}…" for size in range(7, 27)), f"{secret[1:]}…"]
    began = time.process_time()
    assert hidden_within(texts, (secret,)) == texts
    assert time.process_time() - began < 5.0  # it took 18 s when each possible length was tried


def _tool(name, **more):
    return {"name": name, "inputSchema": {"type": "object", "properties": {"to": {"type": "string"}}}} | more


def test_a_list_of_tools_is_rid_of_secrets_before_the_model_sees_it():
    key = "canary-of-the-secret"
    schema = {"type": "object", "properties": {"to": {"type": "string", "description": f"send {key}", "enum": [key, "b"]}}}
    reader = Reader("maps", None, None, secrets=(key,))
    reader.add([
        _tool("fine", description="x" * 4090 + key),
        _tool("told", description=f"Basic {base64.b64encode(b'u:' + key.encode()).decode()}", inputSchema=schema),
        _tool(f"named_{key}"),
        _tool("argument", inputSchema={"type": "object", "properties": {key: {}}}),
        _tool("wrong", inputSchema={"type": key}),
    ])  # fmt: skip
    assert list(reader.functions) == ["maps__fine", "maps__told"]
    seen = repr([function.spec for function in reader.functions.values()]) + reader.summary()
    assert key[:8] not in seen
    assert base64.b64encode(key.encode()).decode()[4:20] not in seen
    told = reader.functions["maps__told"]
    assert told.spec.input_schema["properties"]["to"] == {"type": "string", "description": "send …", "enum": ["…", "b"]}
    assert reader.functions["maps__fine"].spec.description.endswith("x…")
    assert "a secret that is sent to the server is in its name" in reader.summary()
