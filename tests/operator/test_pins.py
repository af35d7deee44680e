"""Runs are pinned to the revision they began with: its model, its Secret keys and its store stay. Pure parts, then a real API server."""

import json

import pytest

from holdfast_api import conditions, names
from holdfast_operator import kinds
from holdfast_operator.desired import desired
from holdfast_operator.desired.pins import ANNOTATION_KEPT, ANNOTATION_PINS, Kept, Past, Pins, choose, pins_of
from holdfast_operator.desired.rotation import Rotation
from holdfast_operator.desired.standing import Mark
from tests.operator.live import DEFAULTS, Api, World
from tests.operator.test_children import change, made
from tests.operator.test_desired import DEFAULT, agent, children, resolved

OLD, NEW = ("old", "key"), ("new", "key")
STORE = "a-state"
CURRENT = Pins(STORE, frozenset({("a-llm-2", 1000)}), sidecar=frozenset({NEW}))
EARLIER = Pins(STORE, frozenset({("a-llm-1", 2000)}), sidecar=frozenset({OLD}), container=frozenset({("tool", "token")}))


def chosen(*pins: Pins, kept: str = "", gone: tuple[str, str] | None = None, template: str = "t1") -> Kept:
    return choose(CURRENT, Past(pins, kept, lambda key: key == gone), lambda: template)


def test_what_earlier_revisions_need_is_kept_beside_the_current_ones() -> None:
    kept = chosen(CURRENT, EARLIER)

    assert (kept.models, kept.sidecar, kept.container) == ({("a-llm-1", 2000)}, {OLD}, {("tool", "token")})
    assert Kept.parse(kept.text()) == kept


def test_what_the_first_shape_of_the_annotation_says_is_kept_too() -> None:
    first = json.dumps({"store": STORE, "model": ["a-llm-1", 2000], "sidecar": [list(OLD)], "container": [["tool", "token"]]})

    assert Pins.parse(first) == EARLIER == Pins.parse(EARLIER.text())


HOSTILE = ["", "x", "[]", "1", "{}", '{"store": "s"}', "[" * 100_000, "9" * 5000]
SHAPES = [
    {"store": "s", "models": [["m", "soon"]], "sidecar": [], "container": []},
    {"store": "s", "models": [["m", float("inf")]], "sidecar": [], "container": []},
    {"store": "s", "models": [{}], "sidecar": [], "container": []},
    {"store": "s", "models": [["m", 1]], "sidecar": [["a"]], "container": 1},
    {"store": "s", "models": [["m", 1]], "sidecar": [], "container": [], "apis": 7},
]


@pytest.mark.parametrize("text", [*HOSTILE, *map(json.dumps, SHAPES)], ids=range(len(HOSTILE) + len(SHAPES)))
def test_what_somebody_else_has_written_into_an_annotation_pins_and_keeps_nothing(text: str) -> None:
    assert Pins.parse(text) is None
    assert Kept.parse(text) in {Kept(), Kept.parse('{"template": ""}')}
    assert (Mark.parse(text), Rotation.parse(text, "r").rolled) == (Mark(), "r")
    assert chosen(CURRENT, EARLIER, kept=text) == chosen(CURRENT, EARLIER)


@pytest.mark.apiserver
async def test_an_annotation_that_somebody_has_made_unreadable_is_put_right(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace, {"model": {"provider": "echo"}})
    (revision,) = [live["metadata"] for live in api.list(kinds.CONFIG_MAP, namespace) if ANNOTATION_PINS in str(live["metadata"])]
    places = ((kinds.CONFIG_MAP, revision["name"], ANNOTATION_PINS), (kinds.DEPLOYMENT, "a", ANNOTATION_KEPT))
    for kind, name, annotation in places:
        api.patch(kind, namespace, name, {"metadata": {"annotations": {annotation: "x"}}})
        world.hear(kind, namespace, name)
    assert (namespace, "a") in world.due

    await change(world, namespace, {"replicas": 3})

    assert api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"] == 3
    assert api.get(kinds.CONFIG_MAP, namespace, revision["name"])["metadata"]["annotations"] == revision["annotations"]


def test_the_models_in_place_of_an_earlier_one_and_its_critic_are_kept_with_it() -> None:
    echo = {"provider": "echo", "fallbacks": [{"provider": "echo", "name": "spare"}]}
    before = resolved(agent({"model": echo, "evaluation": {"criteria": "x", "model": {"provider": "echo", "name": "critic"}}}))

    assert {component for component, _ in chosen(CURRENT, pins_of(before)).models} == {model.component for model in before.config.models}
    assert len(before.config.models) == 3


def test_what_an_earlier_revision_may_ask_of_its_sidecar_stays_allowed_while_runs_are_pinned_to_it() -> None:
    spec = {"tools": [{"name": "critic", "agent": {"name": "critic"}}], "pubsub": {"component": "b", "publishResults": "x"}}
    before, now = pins_of(resolved(agent(spec))), agent()
    past = Past((before,))
    steps = desired(now, resolved(now), DEFAULT, past)
    made = {child.kind: child.manifest for step in steps for child in step}
    allowed = {rule["name"] for rule in made[kinds.CONFIGURATION]["spec"]["api"]["allowed"]}

    assert {"publish", "invoke"} <= allowed
    assert Pins.parse(before.text()) == before
    assert Kept.parse(made[kinds.DEPLOYMENT]["metadata"]["annotations"][ANNOTATION_KEPT]).apis == {"publish", "invoke"}
    assert '"apis"' not in CURRENT.text() + chosen(CURRENT, EARLIER).text()


def test_without_earlier_revisions_nothing_is_kept() -> None:
    assert chosen(CURRENT).text() == ""


def test_what_is_no_longer_needed_goes_with_the_next_rollout_only() -> None:
    live = chosen(CURRENT, EARLIER).text()

    assert chosen(CURRENT, kept=live).text() == live
    assert chosen(CURRENT, kept=live, template="t2").sidecar == frozenset()


def test_a_kept_secret_that_was_deleted_stops_no_pod_and_is_not_asked_for_again() -> None:
    live = chosen(CURRENT, EARLIER).text()

    without = chosen(CURRENT, EARLIER, kept=live, gone=OLD)
    assert (without.sidecar, without.missing) == (frozenset(), {OLD})

    assert chosen(CURRENT, EARLIER, kept=without.text()) == without


def test_a_secret_that_the_current_revision_needs_is_never_left_out() -> None:
    assert chosen(CURRENT, gone=NEW).text() == ""


def test_an_earlier_model_keeps_its_own_time_limit() -> None:
    pins = Pins(STORE, frozenset({("a-llm-1", 7_200_000)}))
    found = agent({"model": {"provider": "echo", "timeout": "18m"}})

    steps = desired(found, resolved(found), DEFAULT, Past((pins,)))

    spec = next(child for step in steps for child in step if child.kind == kinds.RESILIENCY).manifest["spec"]
    limits = {name: spec["policies"]["timeouts"][bound["outbound"]["timeout"]] for name, bound in spec["targets"]["components"].items()}
    assert limits.pop("a-llm-1") == "7200000ms"
    assert list(limits.values()) == ["1080000ms"]
    assert "e+" not in json.dumps(children(found)["Resiliency"])


def openai(secret: str) -> dict:
    return {"provider": "openai", "name": "m", "apiKeySecretRef": {"name": secret, "key": "key"}}


def tool(secret: str) -> dict:
    header = {"name": "Authorization", "secretKeyRef": {"name": secret, "key": "token"}}
    return {"name": "t", "description": "d", "http": {"url": "http://x", "headersFrom": [header]}}


async def rolled_out(world: World, namespace: str) -> float | None:
    world.api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    return (await world.look(namespace, "a"))[0]


@pytest.mark.apiserver
async def test_after_a_key_moved_the_pods_still_get_the_old_one_until_its_runs_are_over(world: World, namespace: str, api: Api) -> None:
    now = 1_800_000_000.0
    world.now = lambda: now
    await made(world, namespace, {"model": openai("old"), "tools": [tool("old-tool")], "limits": {"runTimeout": "2h"}})
    await rolled_out(world, namespace)

    await change(world, namespace, {"model": openai("new"), "tools": [tool("new-tool")]})

    def given() -> tuple[str, dict[str, bool]]:
        template = api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["template"]
        refs = [entry.get("valueFrom", {}).get("secretKeyRef") for entry in template["spec"]["containers"][0]["env"]]
        optional = {ref["name"]: ref.get("optional", False) for ref in refs if ref and "tool" in ref["name"]}
        return template["metadata"]["annotations"]["dapr.io/env-from-secret"], optional

    both = given()
    assert f"{names.secret_env('old', 'key')}=old:key" in both[0]
    assert f"{names.secret_env('new', 'key')}=new:key" in both[0]
    assert both[1] == {"new-tool": False, "old-tool": True}

    again = await rolled_out(world, namespace)
    assert again is not None
    now += again + 1
    await rolled_out(world, namespace)
    assert len([name for kind, name in world.memory.record((namespace, "a")).children if kind == kinds.CONFIG_MAP]) == 1
    await world.look(namespace, "a")
    assert given() == both  # letting go is no reason to restart pods

    await change(world, namespace, {"goal": "another"})
    assert "old:key" not in given()[0]
    assert given()[1] == {"new-tool": False}


@pytest.mark.apiserver
async def test_what_is_kept_survives_a_restart_of_the_operator(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace, {"model": openai("old")})
    await change(world, namespace, {"model": openai("new")})
    assert ANNOTATION_KEPT in api.get(kinds.DEPLOYMENT, namespace, "a")["metadata"]["annotations"]

    world.restart()
    await world.take_stock(namespace)
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    world.hear(kinds.AGENT, namespace, "a")
    _, asked = await world.look(namespace, "a")

    assert asked == {}


@pytest.mark.apiserver
async def test_a_model_stays_as_long_as_any_revision_that_names_it(world: World, namespace: str, api: Api) -> None:
    now = 1_800_000_000.0
    world.now = lambda: now
    await made(world, namespace, {"model": openai("k"), "limits": {"runTimeout": "168h"}})
    await rolled_out(world, namespace)
    (model,) = [live["metadata"]["name"] for live in api.list(kinds.COMPONENT, namespace) if "-llm-" in live["metadata"]["name"]]
    for spec in ({"limits": {"runTimeout": "1h"}}, {"model": {"name": "other"}}):
        await change(world, namespace, spec)
        await rolled_out(world, namespace)

    now += 3 * 3600
    again = await rolled_out(world, namespace)
    assert api.get(kinds.COMPONENT, namespace, model) is not None

    assert again is not None
    now += again + 1
    await world.look(namespace, "a")
    assert api.get(kinds.COMPONENT, namespace, model) is None


@pytest.mark.apiserver
async def test_a_model_in_place_of_another_stays_for_the_runs_that_may_still_need_it(world: World, namespace: str, api: Api) -> None:
    spare = openai("spare") | {"name": "spare", "timeout": "7m"}
    await made(world, namespace, {"model": openai("k") | {"fallbacks": [spare]}})
    await rolled_out(world, namespace)
    made_for_spare = next(
        live["metadata"]["name"]
        for live in api.list(kinds.COMPONENT, namespace)
        if {"name": "model", "value": "spare"} in live["spec"]["metadata"]
    )

    await change(world, namespace, {"model": {"fallbacks": []}})
    await rolled_out(world, namespace)

    assert api.get(kinds.COMPONENT, namespace, made_for_spare) is not None
    bounds = api.get(kinds.RESILIENCY, namespace, "a")["spec"]
    assert bounds["policies"]["timeouts"][bounds["targets"]["components"][made_for_spare]["outbound"]["timeout"]] == "420000ms"
    annotations = api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["template"]["metadata"]["annotations"]
    assert "=spare:key" in annotations["dapr.io/env-from-secret"]


OTHER_STORE = {"type": "state.redis", "metadata": [{"name": "redisHost", "value": "elsewhere:6379"}]}


async def restarted(world: World, namespace: str, defaults: dict) -> None:
    world.settings = world.settings.__class__(defaults=DEFAULT.__class__.model_validate(defaults))
    world.restart()
    await world.take_stock(namespace)
    world.hear(kinds.AGENT, namespace, "a")
    await world.look(namespace, "a")


@pytest.mark.apiserver
@pytest.mark.parametrize("changed", [{"state": OTHER_STORE}, {"memory": {"component": "documents"}}], ids=["state", "memory"])
async def test_a_changed_default_store_moves_no_agent(world: World, namespace: str, api: Api, changed: dict) -> None:
    await made(world, namespace)
    before = {kind: api.list(kind, namespace) for kind in (kinds.COMPONENT, kinds.DEPLOYMENT)}

    await restarted(world, namespace, DEFAULTS | changed)

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.STATE_CHANGED)
    assert "a-state (state.redis, " in accepted["message"]
    assert {kind: api.list(kind, namespace) for kind in before} == before


@pytest.mark.apiserver
async def test_another_store_than_the_one_in_use_cannot_be_written_down_either(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    await restarted(world, namespace, DEFAULTS | {"state": OTHER_STORE})

    await change(world, namespace, {"state": OTHER_STORE | {"metadata": [{"name": "redisHost", "value": "third:6379"}]}})
    assert api.condition(namespace, "a")["reason"] == conditions.STATE_CHANGED


@pytest.mark.apiserver
async def test_with_the_former_store_written_down_an_agent_goes_on(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    version = api.get(kinds.COMPONENT, namespace, "a-state")["metadata"]["resourceVersion"]
    await restarted(world, namespace, DEFAULTS | {"state": OTHER_STORE})

    await change(world, namespace, {"state": DEFAULTS["state"]})

    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"
    assert api.get(kinds.COMPONENT, namespace, "a-state")["metadata"]["resourceVersion"] == version
