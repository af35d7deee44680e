"""Real runs leave records that verify, and whatever is done to their documents in the real store is found."""

import base64
import contextlib
import itertools
import json
import sqlite3

import pytest

from holdfast_agent.audit.sheets import gather
from holdfast_agent.audit.verify import verify
from holdfast_api.config import LimitsConfig

pytestmark = pytest.mark.dapr

KEY = "key of this test"
SPIFFE = "spiffe://public/ns/team/agent"
SEARCH = {"name": "search", "arguments": {"city": "Paris"}}


def script(turns=2, *, tool="1ms", calls=2):
    return {
        "rules": [{"turns": [*([{"toolCalls": [SEARCH] * calls}] * turns), {"answer": "done"}]}],
        "tools": {"search": {"latency": tool, "result": "sunny"}},
    }


class StoreFile:
    """The SQLite file that daprd keeps documents in, as somebody with a shell sees it."""

    def __init__(self, path):
        self.path = path

    def _connection(self):
        return contextlib.closing(sqlite3.connect(self.path, timeout=10, isolation_level=None))

    def documents(self, run):
        with self._connection() as store:
            rows = store.execute("SELECT key, value FROM state WHERE key = ? OR key LIKE ?", (f"agent||run/{run}", f"agent||run/{run}/%"))
            return {key.removeprefix("agent||"): json.loads(base64.b64decode(value)) for key, value in rows}

    def write(self, key, document):
        with self._connection() as store:
            changed = store.execute("UPDATE state SET value = ? WHERE key = ?", (_stored(document), f"agent||{key}"))
            assert changed.rowcount == 1

    def remove(self, key):
        with self._connection() as store:
            assert store.execute("DELETE FROM state WHERE key = ?", (f"agent||{key}",)).rowcount == 1

    def restore(self, key, document):
        with self._connection() as store:
            if not store.execute("UPDATE state SET value = ? WHERE key = ?", (_stored(document), f"agent||{key}")).rowcount:
                row = "INSERT INTO state (key, value, is_binary, etag) VALUES (?, ?, 1, 'x')"
                store.execute(row, (f"agent||{key}", _stored(document)))


def _stored(document):
    return base64.b64encode(json.dumps(document).encode()).decode()


@pytest.fixture
def store_file(tmp_path):
    return StoreFile(tmp_path / "state.db")


@pytest.fixture
async def signing(stage):
    """`await signing(script, ...)` -> a stage whose agent has a key and a SPIFFE id."""
    variables = {"HOLDFAST_AUDIT_KEY": KEY, "HOLDFAST_SPIFFE_ID": SPIFFE}

    async def build(text, *tools, **more):
        return await stage(text, *tools, environ=variables, **more)

    return build


def report(documents, run):
    return verify(gather(run, documents.items()), [KEY])


def found(documents, run):
    return {(finding.kind, finding.where) for finding in report(documents, run).findings}


async def test_a_run_is_sealed_and_every_change_of_its_documents_in_the_store_is_found(signing, store_file):
    here = await signing(script(), "search")
    run = (await here.agent.ask("go"))["id"]
    written = store_file.documents(run)
    sealed = report(written, run)
    assert sealed.intact, sealed.findings
    assert sealed.anchor["spiffe"] == SPIFFE
    # Two turns with two calls each, the answer, and the end.
    assert sealed.records == 2 * 3 + 1 + 1

    for key, document in written.items():
        where = key.removeprefix(f"run/{run}").removeprefix("/") or "head"
        for field in document:
            store_file.write(key, document | {field: "changed"})
            assert where in {place for _, place in found(store_file.documents(run), run)} | ({"head"} if field == "audit" else set()), (
                key,
                field,
            )
        store_file.remove(key)
        assert ("missing", where) in found(store_file.documents(run), run)
        store_file.restore(key, document)
    effects = [key for key in written if key != f"run/{run}"]
    for one, other in itertools.pairwise(effects):
        store_file.write(one, written[other])
        store_file.write(other, written[one])
        swapped = {("moved", key.removeprefix(f"run/{run}/")) for key in (one, other)}
        assert swapped <= found(store_file.documents(run), run), (one, other)
        store_file.write(one, written[one])
        store_file.write(other, written[other])
    for last in range(3):
        cut = {key: document for key, document in written.items() if key == f"run/{run}" or int(key.split("/")[2]) <= last}
        assert ("missing", "3/model") in found(cut, run)
    assert report(store_file.documents(run), run).intact


async def test_the_agents_log_tells_how_long_the_chain_is_and_where_it_ends(signing, store_file):
    here = await signing(script(), "search")
    run = (await here.agent.ask("go"))["id"]

    lines = [json.loads(line) for line in here.agent.log.read_text().splitlines() if line.startswith("{")]
    [ended] = [line for line in lines if line["message"] == "run ended"]
    anchor = store_file.documents(run)[f"run/{run}"]["audit"]
    assert (ended["run"], ended["records"], ended["hash"]) == (run, anchor["count"], anchor["hash"])
    assert KEY not in here.agent.log.read_text()


async def test_a_run_that_was_killed_in_the_middle_verifies_all_the_same(signing, store_file):
    here = await signing(script(tool="1s", calls=1), "search")
    run = await here.agent.begin("go", id="trip")
    await here.agent.until(lambda: here.underway("tool"))
    await here.agent.kill()
    await here.agent.start()
    assert (await here.agent.ended(run))["result"] == "done"

    assert report(store_file.documents(run), run).intact


async def test_a_run_of_several_generations_verifies_with_its_segments(signing, store_file):
    here = await signing(script(turns=25, calls=1), "search", limits=LimitsConfig(max_iterations=40))
    run = (await here.agent.ask("go", wait="60s"))["id"]
    written = store_file.documents(run)
    assert report(written, run).intact, report(written, run).findings
    [segment] = [key for key in written if "/segment/" in key]

    messages = written[segment]["messages"]
    for edited in (messages[1:], messages[::-1], [messages[0] | {"content": "changed"}, *messages[1:]]):
        assert {kind for kind, _ in found(written | {segment: written[segment] | {"messages": edited}}, run)} == {"edited"}


async def test_a_run_that_met_a_limit_is_sealed_with_it(signing, store_file):
    here = await signing(script(turns=5), "search", limits=LimitsConfig(max_iterations=2))
    view = await here.agent.ask("go")
    assert view["status"] == "FAILED"
    written = store_file.documents(view["id"])
    assert report(written, view["id"]).intact, report(written, view["id"]).findings

    head = written[f"run/{view['id']}"]
    eased = head | {"error": head["error"] | {"message": "something else"}}
    assert found(written | {f"run/{view['id']}": eased}, view["id"]) == {("edited", "head")}
