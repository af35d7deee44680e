"""`python -m holdfast_agent verify`: was anything changed in what a run left behind?

    python -m holdfast_agent verify http://localhost:8001/runs/RUN --token-file TOKEN --key-file KEY
    python -m holdfast_agent verify run.jsonl --key-file KEY
    kubectl get secret NAME-audit -o jsonpath='{.data.token}' | base64 -d | python -m holdfast_agent verify run.jsonl --key-file -

Exit status: 0 everything is as it was written and signed, 1 it is not or that cannot be proven, 2 the command cannot be carried out.
"""

import argparse
import itertools
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from holdfast_agent.audit.lines import Item, LineError, parse
from holdfast_agent.audit.sheets import Papers, gather
from holdfast_agent.audit.verify import Report, verify
from holdfast_agent.documents import ID_PATTERN
from holdfast_api import names

_USAGE_ERROR: Final = 2
_SECONDS: Final = 30.0
_RUN: Final = re.compile(rf"run/({ID_PATTERN.pattern})(?:/.*)?")


class CommandError(Exception):
    """The command cannot be carried out; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Verify one run.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    try:
        keys = _keys(options.key_file)
        source = _url(options.source, _text(options.token_file)) if "://" in options.source else _file(options.source)
        papers = _papers(source, options.run)
    except (CommandError, LineError) as error:
        print(f"holdfast-agent verify: {error}", file=sys.stderr)  # noqa: T201 - a command prints
        return _USAGE_ERROR
    report = verify(papers, keys)
    print("\n".join(told(papers, report, keys)))  # noqa: T201 - a command prints
    return 0 if report.intact else 1


def told(papers: Papers, report: Report, keys: Sequence[str]) -> Iterator[str]:
    """What the command prints: what was looked at, what was found, the verdict and what to do next."""
    head = papers.head or {}
    yield f"run {papers.run}: {head.get('status', 'no head')}, revision {head.get('revision', 'unknown')}"
    yield f"checked {report.records} records, {len(papers.sheets)} documents and {report.segments} segments with {len(keys)} key(s)"
    if report.anchor:
        kid = report.anchor.get("kid") or "none"
        yield f"anchor: {report.anchor.get('count')} links, hash {report.anchor.get('hash')}, signed with key {kid}"
        yield f"agent: {report.anchor.get('spiffe') or 'no SPIFFE id (not run by the operator)'}"
    for finding in report.findings:
        yield f"  {finding.kind:9} {finding.where}: {finding.message}"
    if report.intact:
        yield "INTACT: every document is as it was written, and the anchor is signed"
        yield "Next: compare links and hash with the agent's log line `run ended` or a copy that you kept: nobody can have made both anew."
    elif {finding.kind for finding in report.findings} <= {"unsigned", "unsealed"}:
        yield "NOT PROVEN: nothing was found changed, and nothing shows that it was not"
        yield "Next: do what the lines above say, and verify again."
    else:
        yield "CHANGED: what the run left behind is not what it wrote"
        if {finding.kind for finding in report.findings} == {"added"} and (head.get("cancel") or {}).get("forced"):
            yield "Next: this is expected after cancel?force=true: a call ended after the run. Look at what was added; the rest is intact."
            return
        yield "Next: keep this output and the documents, compare with a backup of the store, and find out who can write to it."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="holdfast-agent verify",
        description="Find any edit, removal, reordering or truncation of what a run left behind.",
        epilog="exit status: 0 intact, 1 changed or not proven, 2 the command cannot be carried out",
    )
    parser.add_argument("source", metavar="URL|FILE", help="http(s)://HOST/runs/RUN, or a file with its documents (- for standard input)")
    parser.add_argument("--run", help="the run's id, where the source holds several")
    parser.add_argument(
        "--key-file",
        action="append",
        default=[],
        metavar="FILE",
        help=f"key of Secret NAME-audit (- for standard input); again for former keys; default: ${names.ENV_AUDIT_KEY}",
    )
    parser.add_argument("--token-file", metavar="FILE", help=f"bearer token for the URL; default: ${names.ENV_APP_TOKEN}")
    return parser


def _keys(files: list[str]) -> list[str]:
    keys = [key for name in files if (key := _text(name))]
    if not keys and os.environ.get(names.ENV_AUDIT_KEY):
        keys = [os.environ[names.ENV_AUDIT_KEY]]
    if not keys:
        raise CommandError(
            f"no key was given, and without one nothing can be proven: set {names.ENV_AUDIT_KEY}, or --key-file FILE. "
            "It is in Secret NAME-audit: kubectl get secret NAME-audit -o jsonpath='{.data.token}' | base64 -d > FILE"
        )
    return keys


def _text(name: str | None) -> str:
    if name is None:
        return ""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name!r} cannot be read: {error}") from error
    return text.strip()


def _file(name: str) -> Iterator[Item]:
    try:
        if name == "-":
            yield from parse(sys.stdin)
            return
        with Path(name).open("rb") as lines:
            yield from parse(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name!r} cannot be read: {error}. Make it with curl: .../runs/RUN/audit?documents=true") from error


def _url(url: str, token: str) -> Iterator[Item]:
    base = url.partition("?")[0].rstrip("/").removesuffix("/audit")
    if not base.startswith(("http://", "https://")):
        raise CommandError(f"{url!r}: use http://HOST/runs/RUN or https://HOST/runs/RUN")
    bearer = token or os.environ.get(names.ENV_APP_TOKEN, "")
    request = urllib.request.Request(  # noqa: S310 - its scheme was checked
        f"{base}/audit?documents=true", headers={"Authorization": f"Bearer {bearer}"} if bearer else {}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - its scheme was checked
            yield from parse(answer)
    except urllib.error.HTTPError as error:
        why = {401: "the token is missing or wrong: give --token-file", 404: "there is no such run there"}
        raise CommandError(f"{base}: HTTP {error.code}: {why.get(error.code, error.reason)}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise CommandError(f"{base} cannot be read: {getattr(error, 'reason', error)}") from error


def _papers(source: Iterator[Item], run: str | None) -> Papers:
    first = next(source, None)
    match = first and _RUN.fullmatch(first[0])
    if first is None or not match:
        raise CommandError("the source does not begin with a run's document: use what GET /runs/RUN/audit?documents=true gives")
    return gather(run or match[1], itertools.chain([first], source))
