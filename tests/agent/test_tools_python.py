"""Python tools: typed from their annotations, alone in a process, ended at their time limit, and blind to every token."""

import json
import logging
import os
import subprocess
import sys

import pytest

from holdfast_agent.outcome import Failure
from holdfast_agent.tools import ToolboxError, ToolResult
from holdfast_agent.tools.python import scrubbed
from tests.agent.toolboxes import python_tool

FLIGHTS = '''
from pydantic import BaseModel

class FlightOption(BaseModel):
    airline: str
    price: float

def search_flights(destination: str) -> list[FlightOption]:
    """Find flights to a city."""
    return [FlightOption(airline="Croatia Airlines", price=129), FlightOption(airline=f"Air {destination}", price=88.5)]
'''


async def test_a_function_is_offered_with_its_docstring_and_its_annotations(open_python):
    box = await open_python(python_tool(FLIGHTS, "search_flights"))
    (spec,) = box.specs
    assert spec.description == "Find flights to a city."
    assert spec.input_schema == {
        "type": "object",
        "properties": {"destination": {"type": "string"}},
        "additionalProperties": False,
        "required": ["destination"],
    }


async def test_pydantic_models_come_back_as_json(open_python):
    box = await open_python(python_tool(FLIGHTS, "search_flights"))
    result = await box.call("search_flights", {"destination": "Zagreb"}, key="r/1/0")
    assert json.loads(result.content) == [{"airline": "Croatia Airlines", "price": 129.0}, {"airline": "Air Zagreb", "price": 88.5}]


RICH = """
from __future__ import annotations
import enum
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Literal, Optional
from pydantic import BaseModel, Field

class Cabin(enum.Enum):
    ECONOMY = "economy"
    BUSINESS = "business"

class Passenger(BaseModel):
    name: str
    age: int | None = None

@dataclass
class Leg:
    to: str
    on: date
    stops: list[Leg] = field(default_factory=list)

def book(
    passengers: list[Passenger],
    leg: Leg,
    cabin: Cabin = Cabin.ECONOMY,
    meal: Literal["veg", "any"] = "any",
    seat: Annotated[str | None, Field(description="Such as 2A")] = None,
    bags: Optional[int] = 1,
    *,
    idempotency_key: str,
) -> dict:
    assert all(isinstance(each, Passenger) for each in passengers) and isinstance(leg, Leg) and isinstance(leg.on, date)
    return {"names": [p.name for p in passengers], "year": leg.on.year, "cabin": cabin.value, "meal": meal, "seat": seat,
            "bags": bags, "key": idempotency_key}
"""


async def test_rich_types_become_a_flat_schema(open_python):
    box = await open_python(python_tool(RICH, "book"))
    schema = box.specs[0].input_schema
    properties = schema["properties"]
    assert schema["required"] == ["passengers", "leg"]
    assert properties["passengers"]["items"]["properties"] == {"name": {"type": "string"}, "age": {"type": "integer"}}
    assert properties["leg"]["properties"]["stops"] == {"type": "array", "items": {"type": "object"}}
    assert properties["cabin"] == {"type": "string", "enum": ["economy", "business"], "default": "economy"}
    assert properties["meal"] == {"type": "string", "enum": ["veg", "any"], "default": "any"}
    assert properties["seat"] == {"type": "string", "description": "Such as 2A"}
    assert properties["bags"] == {"type": "integer", "default": 1}
    assert "idempotency_key" not in properties
    assert not {"$ref", "$defs", "anyOf", "title"} & set(json.dumps(schema).replace('"', " ").split())


async def test_rich_arguments_arrive_as_objects_and_the_key_beside_them(open_python):
    box = await open_python(python_tool(RICH, "book"))
    arguments = {"passengers": [{"name": "Ana"}], "leg": {"to": "ZAG", "on": "2026-12-01"}, "seat": None}
    result = await box.call("book", arguments, key="r/1/0")
    assert json.loads(result.content) == {
        "names": ["Ana"], "year": 2026, "cabin": "economy", "meal": "any", "seat": None, "bags": 1, "key": "r/1/0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"leg": {"to": "Z", "on": "2026-12-01"}}, "passengers: is missing"),
        (
            {"passengers": [{"nme": 1}], "leg": {"to": "Z", "on": "soon"}},
            "passengers.0.name: Field required; leg.on: Input should be a valid date",
        ),
        (
            {"passengers": [], "leg": {"to": "Z", "on": "2026-12-01"}, "idempotency_key": "mine"},
            "idempotency_key: there is no such argument",
        ),
        (["not", "an", "object"], "must be a JSON object"),
    ],
)
async def test_arguments_that_do_not_fit_are_told_to_the_model(open_python, arguments, words):
    box = await open_python(python_tool(RICH, "book"))
    failure = await box.call("book", arguments, key="k")
    assert isinstance(failure, Failure)
    assert failure.kind == "permanent"
    assert words in failure.message


async def test_arguments_can_be_checked_without_calling_the_function(open_python, tmp_path):
    source = f"""
        def touch(times: int) -> None:
            open({str(tmp_path / "touched")!r}, "w").close()
    """
    box = await open_python(python_tool(source, "touch"))
    wrong = await box.check("touch", {"times": "often"})
    assert (wrong.kind, wrong.reach, "times: " in wrong.message) == ("permanent", "unsent", True)
    assert await box.check("touch", {"times": 3}) is None
    assert not (tmp_path / "touched").exists()
    await box.call("touch", {"times": 3}, key="k")
    assert (tmp_path / "touched").exists()


async def test_async_functions_run_on_one_loop_for_the_life_of_their_process(open_python):
    source = """
        import asyncio
        loops = set()
        async def tick() -> int:
            await asyncio.sleep(0)
            loops.add(asyncio.get_running_loop())
            return len(loops)
    """
    box = await open_python(python_tool(source, "tick"))
    assert [await box.call("tick", {}, key=str(n)) for n in range(3)] == [ToolResult("1")] * 3


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ("-> str: return 'plain text'", "plain text"),
        (": return 'plain text'", "plain text"),
        (": return None", "null"),
        (": return {'a': [1, 2.5, None]}", '{"a":[1,2.5,null]}'),
        ("-> dict[str, int]: return {'a': '1'}", '{"a":1}'),
    ],
)
async def test_results_become_text_or_json_text(open_python, body, content):
    box = await open_python(python_tool(f"def f() {body}\n", "f"))
    assert await box.call("f", {}, key="k") == ToolResult(content)


@pytest.mark.parametrize(
    ("body", "words", "reach"),
    [
        ("-> int: return 'many'", "returned something else than it says: result: Input should be a valid integer", "lost"),
        (": return object()", "returned a object, which has no JSON form", "lost"),
        (": return 'x' * (1024 * 1024 + 1)", "returned more than 1024 KiB", "lost"),
        (": raise RuntimeError('no seats left')", "RuntimeError: no seats left", "answered"),
        (": raise SystemExit(3)", "SystemExit: 3", "answered"),
    ],
)
async def test_a_function_that_goes_wrong_is_a_permanent_failure_and_the_next_call_is_served(open_python, body, words, reach):
    box = await open_python(python_tool(f"def f() {body}\n", "f"))
    for _ in range(2):
        failure = await box.call("f", {}, key="k")
        assert (failure.kind, failure.reach) == ("permanent", reach)
        assert words in failure.message
        assert "Traceback" not in failure.message


ODD = """
    import pydantic
    class Odd(pydantic.BaseModel):
        name: str
        @pydantic.field_validator("name")
        @classmethod
        def read(cls, value):
            return {"Rome": "Rome"}[value]
        @pydantic.model_serializer
        def show(self):
            raise SystemExit("odd serializer")
    def f(odd: Odd | None = None) -> Odd:
        return odd or {"name": "Oslo"}
"""


async def test_validators_and_serializers_that_break_end_the_call_and_not_their_process(open_python):
    box = await open_python(python_tool(ODD, "f"))
    for _ in range(2):
        asked = ({"odd": {"name": "Oslo"}}, {"odd": {"name": "Rome"}}, {})
        unfit, unshown, unread = [await box.call("f", arguments, key="k") for arguments in asked]
        assert (unfit.kind, unfit.message) == ("permanent", "invalid arguments: odd: checking it ended with KeyError: 'Oslo'")
        assert [(one.kind, one.reach) for one in (unshown, unread)] == [("permanent", "lost")] * 2
        assert "SystemExit: odd serializer" in unshown.message
        assert unread.message == "putting the result into JSON ended with KeyError: 'Oslo'"


async def test_the_traceback_and_the_output_go_to_the_log_with_the_name_of_thepython_tool(open_python, caplog, eventually):
    source = """
        import os, sys
        def f():
            print("looking")
            os.system("echo from a program")
            print("x" * 10000, file=sys.stderr)
            raise ValueError("out of luck")
    """
    box = await open_python(python_tool(source, "f"))
    with caplog.at_level(logging.INFO, logger="holdfast_agent.tools"):
        await box.call("f", {}, key="run/1/0")

        async def logged():
            return "ValueError: out of luck" in caplog.text

        await eventually(logged)
    for words in ("[f run/1/0] looking", "from a program", 'File "tools/tools.py", line 7, in f', 'raise ValueError("out of luck")'):
        assert words in caplog.text


@pytest.mark.parametrize(
    ("source", "function", "words"),
    [
        ("def f(:\n  pass", "f", "ConfigMap 'tools', key 'tools.py', line 1: SyntaxError: invalid syntax (`def f(:`)"),
        ("def f():\npass", "f", "line 2: IndentationError"),
        ("x = 1\nimport nosuchthing\n", "f", "line 2: ModuleNotFoundError: No module named 'nosuchthing': use an image that has it"),
        ("import sys\nsys.exit(1)\n", "f", "line 2: SystemExit: 1"),
        ("def book(): ...\ndef _hidden(): ...\n", "f", "there is no function 'f' (there are: book): correct python.function"),
        ("def f(city): ...\n", "f", "line 1: function 'f': parameter 'city' has no annotation: write for example `city: str`"),
        ("def f(*cities: str): ...\n", "f", "parameter '*cities: str' has no name to call it by"),
        ("def f(city: 'Citty'): ...\n", "f", "an annotation cannot be read: NameError: name 'Citty' is not defined"),
        ("class Socket: ...\ndef f(city: Socket): ...\n", "f", "parameter 'city' is a Socket, which cannot come from JSON"),
        ("class Socket: ...\ndef f() -> Socket: ...\n", "f", "its result is a Socket, which cannot come from JSON"),
    ],
)
async def test_a_module_that_cannot_be_used_is_refused_with_place_and_fix(open_python, source, function, words):
    with pytest.raises(ToolboxError) as caught:
        await open_python(python_tool(source, function))
    assert str(caught.value).startswith("tool 'f': ConfigMap 'tools', key 'tools.py'")
    assert words in str(caught.value)


async def test_a_module_that_ends_its_process_or_never_comes_to_an_end_is_refused(open_python, monkeypatch):
    with pytest.raises(
        ToolboxError, match=r"tools 'f' cannot be imported: its process ended with exit code 3: importing a module must not"
    ):
        await open_python(python_tool("import os\nos._exit(3)\n", "f"))
    monkeypatch.setattr("holdfast_agent.tools.pool.IMPORT_SECONDS", 0.5)
    with pytest.raises(ToolboxError, match=r"tools 'f': importing took more than 0\.5 s: do slow things in the function"):
        await open_python(python_tool("while True: pass\n", "f"))


def test_the_environment_keeps_what_the_user_set_and_loses_every_token():
    environ = {
        "PATH": "/bin", "CITY": "Zagreb", "DAPR_API_TOKEN": "t", "DAPR_GRPC_PORT": "1", "APP_API_TOKEN": "t",
        "HOLDFAST_SECRET_API_KEY_1": "t", "HOLDFAST_CONFIG": "/x",
    }  # fmt: skip
    kept = scrubbed(environ)
    assert {name for name in kept if not name.startswith("PYTHON")} == {"PATH", "CITY"}


async def test_a_function_sees_the_users_variables_only(open_python):
    source = """
        import os
        def f() -> str:
            return " ".join(sorted(name for name in os.environ if name in ("CITY", "DAPR_API_TOKEN", "HOLDFAST_SECRET_X")))
    """
    box = await open_python(python_tool(source, "f"), CITY="Zagreb", DAPR_API_TOKEN="t", HOLDFAST_SECRET_X="s")
    assert await box.call("f", {}, key="k") == ToolResult("CITY")


PRYING = """
import asyncio, os, sys
from holdfast_agent.tools import Toolbox
from holdfast_api.config import AgentConfig
source = '''
import os
def pry() -> str:
    try:
        return open(f"/proc/{os.getppid()}/environ").read()
    except PermissionError:
        return "refused"
'''
async def main():
    config = AgentConfig.model_validate({"name": "a", "model": {"component": "m", "label": "m"}, "stateComponent": "s",
        "memoryComponent": "s", "tools": [{"name": "pry", "python": {"source": source, "function": "pry", "filename": "a/b"}}]})
    box = await Toolbox.open(config, environ=os.environ)
    print((await box.call("pry", {}, key="k")).content)
    await box.close()
asyncio.run(main())
"""


def test_a_function_cannot_read_the_tokens_from_the_agents_process():
    # As in a pod: without capabilities, even for root.
    argv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    environ = os.environ | {"DAPR_API_TOKEN": "very-secret"}
    done = subprocess.run([*argv, sys.executable, "-c", PRYING], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done
