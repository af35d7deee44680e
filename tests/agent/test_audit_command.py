"""`python -m holdfast_agent verify`: what it says, and how it ends."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from holdfast_agent.audit import Auditor, fingerprint, link
from holdfast_agent.audit.lines import line
from holdfast_agent.heads import Head

KEY = "the-key"


def exported():
    auditor = Auditor("spiffe://public/ns/team/agent", KEY)
    head = Head(id="r", task="t", digest="d", revision="abc", created=1.0, deadline=9.0, max_iterations=9, longest_call=1)
    head = auditor.begun(head)
    turn = {"key": "r/1/model", "content": "done", "calls": [], "audit": head.audit}
    chain = link(head.audit, [{"key": "r/1/model", "digest": fingerprint(turn)}])
    ended = Head.load(head.dump() | {"status": "COMPLETED", "result": "done", "ended": 8.0})
    return {"run/r": auditor.sealed(ended, chain).dump(), "run/r/1/model": turn}


def text(documents):
    return "".join(line(key, document) for key, document in documents.items())


@pytest.fixture
def verify(tmp_path):
    def run(*arguments, documents=None, key=KEY, given=None):
        env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST")} | (
            {"HOLDFAST_AUDIT_KEY": key} if key else {}
        )
        path = tmp_path / "run.jsonl"
        path.write_text(text(exported() if documents is None else documents))
        argv = [sys.executable, "-m", "holdfast_agent", "verify", *(arguments or [str(path)])]
        return subprocess.run(argv, env=env, input=given, capture_output=True, text=True, check=False, timeout=30)

    return run


def test_a_run_as_it_was_written_is_intact(verify):
    done = verify()

    assert done.returncode == 0, done.stderr
    assert "INTACT" in done.stdout
    assert "spiffe://public/ns/team/agent" in done.stdout
    assert KEY not in done.stdout


def test_an_edit_is_named_and_the_command_fails(verify):
    documents = exported()
    documents["run/r/1/model"]["content"] = "something else"
    done = verify(documents=documents)

    assert done.returncode == 1
    assert "edited    1/model" in done.stdout
    assert "CHANGED" in done.stdout


def test_what_is_not_signed_is_not_proven(verify):
    documents = exported()
    for name in ("mac", "kid"):
        del documents["run/r"]["audit"][name]
    done = verify(documents=documents)

    assert done.returncode == 1
    assert "NOT PROVEN" in done.stdout


def test_without_a_key_the_command_says_where_it_is(verify):
    done = verify(key=None)

    assert done.returncode == 2
    assert "HOLDFAST_AUDIT_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_come_from_files_former_ones_too(verify, tmp_path):
    (tmp_path / "new").write_text("a newer key\n")
    (tmp_path / "old").write_text(KEY + "\n")
    (tmp_path / "run").write_text(text(exported()))
    done = verify(str(tmp_path / "run"), "--key-file", str(tmp_path / "new"), "--key-file", str(tmp_path / "old"), key=None)

    assert done.returncode == 0, done.stdout + done.stderr


def test_documents_may_come_by_standard_input(verify):
    assert verify("-", given=text(exported())).returncode == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "does not begin"),
        ("not json\n", "line 1"),
        ('{"key": "run/r"}\n', "line 1"),
        ('{"key": 1, "document": {}}\n', "line 1"),
        ('{"key": "open/1", "document": {}}\n', "does not begin"),
    ],
)
def test_a_file_that_is_something_else_is_told_from_a_changed_run(verify, given, told):
    done = verify("-", given=given)

    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_says_how_to_make_one(verify):
    done = verify("/nowhere/run.jsonl")

    assert done.returncode == 2
    assert "audit?documents=true" in done.stderr


def test_documents_come_from_the_agent_itself_with_its_token(verify, tmp_path):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(200 if self.path == "/runs/r/audit?documents=true" else 404)
            self.end_headers()
            self.wfile.write(text(exported()).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        (tmp_path / "token").write_text("the-token\n")
        url = f"http://127.0.0.1:{server.server_port}/runs/"
        good = verify(url + "r", "--token-file", str(tmp_path / "token"))
        bad = verify(url + "unknown")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert good.returncode == 0, good.stdout + good.stderr
    assert seen[0] == ("/runs/r/audit?documents=true", "Bearer the-token")
    assert bad.returncode == 2
    assert "no such run" in bad.stderr


def test_lines_are_read_as_they_are_written():
    assert json.loads(line("run/r", {"task": "čaj"})) == {"key": "run/r", "document": {"task": "čaj"}}
