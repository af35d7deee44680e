"""Whatever is sent, the answer is the run or a problem that says what to do. Seeded, so a failure comes again; the seed is in its name."""

import asyncio
import gzip
import json
import random
import string

import aiohttp
import jsonschema
import pytest
from yarl import URL

from holdfast_agent.http.operations import OPERATIONS
from holdfast_agent.http.problems import Problem
from holdfast_agent.http.requests import body_schema, read_body
from tests.agent.agents import TOKEN
from tests.agent.contracts import PROBLEM, Contract, strict

BODIES = {operation.id: operation.body for operation in OPERATIONS if operation.body is not None}
TEXTS = [
    "",
    " ",
    "a",
    "trip-42",
    "../a",
    "a||b",
    "-",
    "\x00",
    "\u2028",
    "ünïcode",
    "😀" * 70,
    "\ud800",
    "a\udfffb",
    "1.0",
    "true",
    "x" * 2001,
    "x" * 300_000,
]


class Generator:
    """Random requests: now and then one that is right, mostly some that are a little wrong."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def value(self, depth=0):
        kinds = [
            lambda: self.random.choice(TEXTS),
            lambda: self.random.choice([None, True, False]),
            lambda: self.random.choice([0, -1, 1e308, 2**70, 0.1, 10**200]),
            lambda: "".join(self.random.choices(string.printable, k=self.random.randrange(5))),
        ]
        if depth < 4:
            kinds.append(lambda: [self.value(depth + 1) for _ in range(self.random.randrange(3))])
            kinds.append(lambda: {self.random.choice(TEXTS)[:50]: self.value(depth + 1) for _ in range(self.random.randrange(3))})
        return self.random.choice(kinds)()

    def body(self, known):
        names = [field.name for field in known] + ["tsak", "__proto__", "\ud800"]
        document = {name: self.value() for name in names if self.random.random() < 0.5}
        if self.random.random() < 0.5:
            right = {"task": "go", "id": "a", "session_id": "s", "approved": True, "reason": "so", "by": "ann"}
            document = {field.name: right[field.name] for field in known if field.required or self.random.random() < 0.5}
        text = json.dumps(document if self.random.random() < 0.9 else self.value()).encode()
        return self.mangled(text) if self.random.random() < 0.4 else text

    def mangled(self, text):
        spot = self.random.randrange(len(text) + 1)
        return self.random.choice(
            [
                text[:spot],
                text[:spot] + self.random.randbytes(3) + text[spot:],
                text + text,
                text[:spot] + b"[" * 2000 + text[spot:],
                text.decode().encode("utf-16"),
                text.replace(b"{", b'{"task":1,"task":2,', 1),
                text.replace(b":", b':1e999,"a":', 1),
                text.replace(b":", b":" + b"7" * 5000 + b',"a":', 1),
                b"",
            ]
        )

    def path(self):
        parts = [
            "run",
            "runs",
            "sessions",
            "cancel",
            "events",
            "steps",
            "approvals",
            "1.0",
            "a",
            "%00",
            "%ff",
            "..",
            "%2e%2e",
            "",
            "x" * 300,
        ]
        path = self.random.choice(OPERATIONS).path.replace("{id}", self.random.choice(["a", "r", "%ff", "a.b"])).replace("{call}", "1.0")
        if self.random.random() < 0.5:
            path = "/" + "/".join(self.random.choices(parts, k=self.random.randrange(5)))
        names = ["wait", "limit", "cursor", "status", "force", "turn", "documents", "last_event_id", "q"]
        values = ["", "1", "0", "-1", "1s", "true", "RUNNING", "%00", "%ff", "9" * 400, "end", "1.1", "undo.1", "s"]
        query = "&".join(f"{self.random.choice(names)}={self.random.choice(values)}" for _ in range(self.random.choice([0, 0, 1, 1, 2])))
        return path + (f"?{query}" if query else "")


def _is_told(problem):
    document = strict(problem.response().body)
    assert problem.status in (400, 413, 422)
    assert document["detail"]
    assert {"field", "value"} <= document.keys()
    assert document["fix"]
    assert len(problem.response().body) < 5000


@pytest.mark.parametrize(("sent", "value"), [(b"1e999", "Infinity"), (b"-1e999", "-Infinity"), (b"7" * 100, 7 * (10**100 - 1) // 9)])
def test_a_number_that_json_or_a_screen_cannot_hold_is_told_as_text(sent, value):
    with pytest.raises(Problem) as refused:
        read_body(b'{"id": ' + sent + b"}", BODIES["rerun"])
    _is_told(refused.value)
    assert refused.value.document["value"] == value


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("operation", BODIES)
def test_a_body_is_read_as_its_schema_says_or_refused_with_field_and_fix(operation, seed):
    known, generator = BODIES[operation], Generator(f"{operation}-{seed}")
    schema = jsonschema.Draft202012Validator(body_schema(known))
    for _ in range(100):
        text = generator.body(known)
        try:
            read = read_body(text, known)
        except Problem as problem:
            _is_told(problem)
            continue
        assert set(read) == {field.name for field in known}
        schema.validate(json.loads(text) if text.strip() else {})


@pytest.mark.dapr
@pytest.mark.parametrize("seed", range(3))
async def test_an_agent_answers_every_request_as_its_document_says(stage, seed):
    here = await stage({"rules": [{"turns": [{"answer": "hello"}]}]})
    api, generator = await Contract.of(here.agent), Generator(f"http-{seed}")
    for _ in range(250):
        method, path = generator.random.choice(["GET", "POST", "DELETE", "PUT", "OPTIONS", "HEAD"]), generator.path()
        operation = generator.random.choice(list(BODIES.values()))
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Connection": "close",  # what is left unread of a body must not be taken for the next request
            "Content-Type": generator.random.choice(["application/json", "text/xml", "application/json; charset=utf-16", "a", ""]),
        }
        url = URL(here.agent.url + path, encoded=True)
        async with api.agent.session.request(method, url, data=generator.body(operation), headers=headers) as answer:
            text = await answer.text()
        assert answer.status < 500, (method, path, text)
        if method == "HEAD":
            assert text == ""
            assert answer.status != 405 if api.find("GET", url.raw_path) else answer.status in (404, 405), path
        elif api.find(method, url.raw_path):
            api.check(method, url.raw_path, answer.status, answer.content_type, text)
        else:
            assert answer.status in (404, 405), (method, path, text)
            assert (answer.content_type, strict(text)["status"]) == (PROBLEM, answer.status)
    assert (await api.post("/run?wait=30s", {"task": "still well"}))["result"] == "hello"
    assert '"error"' not in here.agent.log.read_text()


@pytest.mark.dapr
async def test_bodies_that_break_off_or_unpack_to_far_more_cost_only_their_sender(stage):
    here = await stage({"rules": [{"turns": [{"answer": "hello"}]}]})
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Content-Encoding": "gzip"}
    for body, expected in (
        (gzip.compress(b'{"task": "a"}'), 202),
        (gzip.compress(b" " * 200_000_000), 413),
        (b"this was never compressed", 400),
        (gzip.compress(b'{"task": "' + b"a" * 1000 + b'"}')[:-12], 400),
    ):
        async with here.agent.session.post(f"{here.agent.url}/run", data=body, headers=headers) as answer:
            assert answer.status == expected, await answer.text()

    async def broken():
        yield b'{"task": '
        raise ConnectionError

    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await here.agent.session.post(f"{here.agent.url}/run", data=broken(), headers={"Authorization": f"Bearer {TOKEN}"})
    assert (await here.agent.ask("still well"))["result"] == "hello"
    assert "request broke" not in here.agent.log.read_text()


@pytest.mark.dapr
async def test_what_is_no_http_costs_its_sender_the_connection_and_the_log_nothing(stage):
    here = await stage({"rules": [{"turns": [{"answer": "hello"}]}]})
    address = URL(here.agent.url)
    begun = f"POST /run HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    for sent in (
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        begun + b"Content-Length: abc\r\n\r\n",
        begun + b"Content-Length: -1\r\n\r\n",
        begun + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(sent)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), (sent[:60], answer[:300])
    assert (await here.agent.ask("still well"))["result"] == "hello"
    log = here.agent.log.read_text()
    assert '"level": "error"' not in log
    assert "Traceback" not in log
    assert "aiohttp.server" not in log
