"""Other models for certain turns and for summing up: which is asked is decided from the plan and from recorded results alone."""

import pytest

from holdfast_agent.failures import FALLBACK_AFTER
from holdfast_agent.loop import Loop
from holdfast_agent.plan import Plan
from holdfast_api.config import AgentConfig, McpToolConfig, MemoryConfig, ModelConfig, RouteConfig, ToolConfig
from tests.agent.driving import drive, error, new, said


def _asked(driver, activity="model"):
    return [given["model"] for given in driver.called(activity)]


def _called(driver, turn, *tools, **more):
    driver.answer(said(turn, *tools, **more))
    return driver.answer(*({"key": f"r/{turn}/{number}"} for number in range(len(tools))))


def test_the_turn_that_reads_a_tools_result_goes_to_its_model_and_the_next_one_does_not():
    driver = drive(new(routes=[["dig"], ["draw", "maps__"]], max_iterations=9))
    for turn, tool, model in ((1, "dig", 0), (2, "draw", 1), (3, "maps__route", 2), (4, "mapsy__route", 2), (5, "other", 0)):
        _called(driver, turn, tool, model=model)

    assert _asked(driver) == [0, 1, 2, 2, 0, 0]


def test_the_first_route_that_fits_one_of_several_calls_is_taken():
    driver = _called(drive(new(routes=[["draw"], ["dig"]], models=2)), 1, "dig", "draw")

    assert _asked(driver) == [0, 2]


def test_the_agents_own_models_stand_in_for_one_that_is_down_and_no_other_routes_do():
    driver = _called(drive(new(routes=[["draw"], ["dig"]], models=2)), 1, "dig")
    for _ in range(2):
        driver.answer(error("r/2/model", "permanent"))

    assert _asked(driver) == [0, 3, 0, 1]


def test_a_fallback_that_answers_goes_on_after_a_turn_of_another_model():
    driver = drive(new(routes=[["dig"]], models=2)).answer(error("r/1/model", "permanent"))
    _called(driver, 1, "dig", model=1)
    _called(driver, 2, "other", model=2)

    assert _asked(driver) == [0, 1, 2, 1]


def test_an_answer_that_is_sent_back_goes_to_the_agents_own_model():
    driver = _called(drive(new(routes=[["dig"]], max_repairs=1)), 1, "dig")
    driver.answer(said(2, model=1) | {"open": "invalid"})

    assert _asked(driver) == [0, 1, 0]


def test_a_route_survives_continue_as_new():
    driver = drive(new(routes=[["dig"]], max_iterations=50))
    for turn in range(1, 21):
        _called(driver, turn, "dig", model=1 if turn > 1 else 0)
    driver.answer({"key": "r/20/pack", "segments": 1})

    again = drive(Loop.load(driver.ctx.continued))
    assert _asked(again) == [1]


@pytest.mark.parametrize("models", [1, 2])
def test_a_model_of_its_own_sums_up_and_the_agents_own_stand_in_for_it(models):
    plan = {"models": models, "routes": [["dig"]], "summarizer": models + 1, "compact_tokens": 10}
    driver = _called(drive(new(**plan)), 1, "other", tokens=100)
    for _ in range(FALLBACK_AFTER):
        driver.answer(error("r/2/compact"))
        if driver.names[-1] == "compact" and len(_asked(driver, "compact")) < FALLBACK_AFTER:
            driver.fire()

    assert _asked(driver, "compact") == [models + 1] * FALLBACK_AFTER + [0]


def test_the_plan_knows_the_places_of_all_models():
    def model(name, context=128_000):
        return ModelConfig(component=name, label=name, context_tokens=context)

    config = AgentConfig(
        name="a",
        model=model("own").model_copy(update={"fallbacks": (model("spare"),)}),
        state_component="s",
        memory_component="s",
        tools=(ToolConfig(name="maps", mcp=McpToolConfig(url="http://x")), ToolConfig(name="dig")),
        routes=(RouteConfig(tools=("maps", "dig"), model=model("deep", context=8000)),),
        memory=MemoryConfig(model=model("small")),
    )
    plan = Plan.of(config)

    assert (plan.models, plan.routes, plan.summarizer, plan.compact_tokens) == (2, [["maps__", "dig"]], 3, 6000)
    assert Plan.load(plan.dump()) == plan
    assert {"routes", "summarizer"}.isdisjoint(Plan.of(config.model_copy(update={"routes": (), "memory": MemoryConfig()})).dump())
