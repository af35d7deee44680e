"""Secrets in a cluster: a token is replaced while callers go on, and no secret is anywhere but in Secrets."""

import json
import secrets
from collections import Counter
from collections.abc import Callable

import pytest

from e2e import canaries, holdfast
from e2e.cluster.places import places
from e2e.holdfast import Images
from e2e.tests.prober import probing
from e2e.tests.support import Caller, Namespace, eventually
from e2e.tests.voyage import NAVIGATOR, TASK, Voyage

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
DAPR = "dapr-system"


def replace(namespace: Namespace, *patch: str) -> None:
    """Change the Secret of the callers' token and roll the pods, with the commands of docs/install.md."""
    namespace.run("patch", "secret", f"{NAVIGATOR}-app-token", *patch)
    namespace.run("rollout", "restart", "deployment", NAVIGATOR)
    namespace.run("rollout", "status", "deployment", NAVIGATOR, "--timeout=120s", timeout=130)


def test_a_token_is_replaced_while_callers_go_on_and_no_request_is_refused_or_lost(sea: Voyage, images: Images) -> None:
    here, old, new = sea.namespace, holdfast.token(sea.namespace.name, NAVIGATOR), secrets.token_urlsafe(32)
    with probing(here, images.agent, f"http://{NAVIGATOR}:8001/runs?limit=1", {"OLD": old, "NEW": new}) as prober:
        prober.settled("OLD", "200")
        replace(here, "-p", json.dumps({"stringData": {"token": new, "previous": old}}))
        both = prober.settled("NEW", "200")
        prober.settled("OLD", "200")
        over = len(prober.heard())
        replace(here, "--type=json", "-p", json.dumps([{"op": "remove", "path": "/data/previous"}]))
        end = prober.settled("OLD", "401")
        prober.settled("NEW", "200")
        heard = prober.heard()

    def told(name: str, since: int = 0, until: int | None = None) -> Counter[str]:
        return Counter(said for token, said in heard[since:until] if token == name)

    print(f"measured: {len(heard)} requests in two roll-outs, {told('OLD')} with the old token, {told('NEW')} with the new one")
    assert set(told("OLD", until=over)) == {"200"}, "the old token works until it is taken away"
    assert set(told("NEW", since=both)) == {"200"}, "the new token works from the end of the first roll-out on"
    assert set(told("OLD", since=end)) == {"401"}, "once it is taken away the old one is refused"
    assert set(told("OLD")) | set(told("NEW")) == {"200", "401"}, "no other answer, and nobody found nobody there"


def test_no_secret_is_in_etcd_outside_secrets_nor_in_redis_logs_events_and_metrics(
    sea: Voyage, caller: Callable[[Namespace, str], Caller]
) -> None:
    def pods() -> int:
        return len(sea.namespace.get("pods", "-l", f"holdfast.dev/agent={NAVIGATOR}")["items"])

    eventually(lambda: pods() == 1, within=120, what="the pods that roll-outs have replaced are gone: a run's log would go with them")
    agent = caller(sea.namespace, NAVIGATOR)
    task = f"{TASK} ({secrets.token_hex(8)})"
    ended = agent.ended(agent.start(task))
    assert ended["status"] == "COMPLETED", ended

    planted = canaries.in_secrets(sea.namespace.name)
    stored, redis = canaries.outside_secrets(places()), canaries.in_redis()
    told = canaries.said([sea.namespace.name, holdfast.NAMESPACE, DAPR]) | {"metrics": (agent.metrics() or "").encode()}

    # The search would find them: every one is there, and what is kept in the open is found where it is kept.
    assert set(sea.canaries.values()) <= set(planted.values())
    assert {f"{NAVIGATOR}-{role}" for role in ("app-token", "dapr-token", "audit")} <= {name.partition("/")[0] for name in planted}
    assert canaries.hits({"task": task}, redis.items()) == ["task in redis"]
    assert canaries.hits({"model": "scripted-model:8080/v1"}, stored.items())
    spoken = b"".join(content for place, content in told.items() if f"/pod/{NAVIGATOR}-" in place)
    assert b"run ended" in spoken
    assert b"/daprd]" in spoken
    assert canaries.hits(planted, (stored | redis | told).items()) == []
