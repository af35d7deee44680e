"""From a function to what a model sees of it, and from a model's arguments to the function's result."""

import inspect
import json
import traceback
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from holdfast_agent.functions.frames import MAX_RESULT_BYTES
from holdfast_agent.functions.module import Problem, place
from holdfast_agent.functions.schema import Schema, flatten

KEY_PARAMETER = "idempotency_key"
MAX_MESSAGE = 1000
_NAMED = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


class Failed(Exception):  # noqa: N818 - it becomes a message for the model
    """A call did not succeed; the message is for the model.

    Attributes:
        returned: whether the function came to its end, so that it may have had its effect.
    """

    def __init__(self, message: str, *, returned: bool = False) -> None:
        super().__init__(message)
        self.returned = returned


@dataclass(frozen=True)
class Function:
    """A user's function, understood.

    Attributes:
        target: the function.
        description: its docstring.
        input_schema: JSON Schema of its arguments, flat.
        parameters: checks of the arguments, by name.
        required: names without a default.
        wants_key: whether it has a parameter `idempotency_key`.
        result: check of what it returns; None when it does not say.
    """

    target: Callable[..., Any]
    description: str
    input_schema: Schema
    parameters: Mapping[str, TypeAdapter[Any]]
    required: frozenset[str]
    wants_key: bool
    result: TypeAdapter[Any] | None

    def call(self, arguments: Mapping[str, Any], key: str, wait: Callable[[Awaitable[Any]], Any]) -> str:
        """Call it; gives text, or JSON text.

        Args:
            arguments: as the model gave them.
            key: the call's idempotency key.
            wait: runs what an `async def` returns to its end.

        Raises:
            Failed: the arguments do not fit, the function raised, or its result is not what it says.
        """
        values = self.check(arguments)
        if self.wants_key:
            values[KEY_PARAMETER] = key
        try:
            result = self.target(**values)
            if inspect.isawaitable(result):
                result = wait(result)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a user's function must not end the worker either
            traceback.print_exc()
            raise Failed(_short(_named(error))) from None
        return self._text(result)

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What the function will get, by name.

        Raises:
            Failed: the arguments do not fit.
        """
        problems = [
            f"{name}: there is no such argument; there are: {', '.join(self.parameters) or 'none'}"
            for name in arguments
            if name not in self.parameters
        ]
        problems += [f"{name}: is missing" for name in self.required if name not in arguments]
        values = {}
        for name, adapter in self.parameters.items():
            if name in arguments:
                try:
                    values[name] = adapter.validate_json(json.dumps(arguments[name]))
                except ValidationError as error:
                    problems += _problems(error, name)
                except BaseException as error:  # noqa: BLE001 - a validator of the user's may raise anything
                    traceback.print_exc()
                    problems.append(f"{name}: checking it ended with {_named(error)}")
        if problems:
            raise Failed(_short(f"invalid arguments: {'; '.join(problems)}"))
        return values

    def _text(self, result: Any) -> str:  # noqa: ANN401 - whatever the function returned
        try:
            if self.result:
                result = self.result.validate_python(result)
            content = result if isinstance(result, str) else (self.result.dump_json(result) if self.result else to_json(result)).decode()
        except ValidationError as error:
            told = f"the function returned something else than it says: {'; '.join(_problems(error, 'result'))}"
            raise Failed(_short(told), returned=True) from None
        except (PydanticSerializationError, UnicodeDecodeError) as error:
            told = f"the function returned a {type(result).__name__}, which has no JSON form: {error}"
            raise Failed(_short(told), returned=True) from None
        except BaseException as error:  # noqa: BLE001 - a serializer of the user's may raise anything, and its worker goes on
            traceback.print_exc()
            raise Failed(_short(f"putting the result into JSON ended with {_named(error)}"), returned=True) from None
        if len(content.encode(errors="replace")) > MAX_RESULT_BYTES:
            raise Failed(f"the function returned more than {MAX_RESULT_BYTES // 1024} KiB; ask for less", returned=True)
        return content


def understand(target: Callable[..., Any], filename: str) -> Function:
    """Read a function's signature.

    Raises:
        Problem: a parameter has no name or annotation, or an annotation cannot be used.
    """
    code = inspect.unwrap(target)
    where = f"{place(filename, getattr(getattr(code, '__code__', None), 'co_firstlineno', None))}: function {target.__name__!r}"
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except Exception as error:  # noqa: BLE001 - evaluating annotations runs the user's code
        raise Problem(f"{where}: an annotation cannot be read: {type(error).__name__}: {error}: define that name in the module") from None
    signature = inspect.signature(target)
    parameters, properties, required = {}, {}, []
    for name, parameter in signature.parameters.items():
        if parameter.kind not in _NAMED:
            raise Problem(f"{where}: parameter {str(parameter)!r} has no name to call it by: use named parameters only")
        if name == KEY_PARAMETER:
            continue
        if name not in hints:
            raise Problem(f"{where}: parameter {name!r} has no annotation: write for example `{name}: str`")
        parameters[name], properties[name] = _adapter(hints[name], f"{where}: parameter {name!r}", with_schema=True)
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        else:
            properties[name] |= _default(parameters[name], parameter.default)
    returned = hints.get("return", Any)
    result = None if returned in {Any, type(None)} else _adapter(returned, f"{where}: its result", with_schema=False)[0]
    return Function(
        target=target,
        description=inspect.getdoc(target) or "",
        input_schema={"type": "object", "properties": properties, "additionalProperties": False}
        | ({"required": required} if required else {}),
        parameters=parameters,
        required=frozenset(required),
        wants_key=KEY_PARAMETER in signature.parameters,
        result=result,
    )


def _adapter(annotation: Any, where: str, *, with_schema: bool) -> tuple[TypeAdapter[Any], Schema]:  # noqa: ANN401 - any annotation
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        return adapter, flatten(adapter.json_schema()) if with_schema else {}
    except (PydanticUserError, TypeError, NameError) as error:
        name = getattr(annotation, "__name__", str(annotation))
        reason = str(error).splitlines()[0]
        raise Problem(
            f"{where} is a {name}, which cannot come from JSON ({reason}): use plain types, dataclasses or pydantic models"
        ) from None


def _default(adapter: TypeAdapter[Any], value: Any) -> Schema:  # noqa: ANN401 - any default
    try:
        plain = adapter.dump_python(value, mode="json", warnings=False)
    except (PydanticSerializationError, TypeError, ValueError):
        return {}
    return {} if plain is None else {"default": plain}


def _problems(error: ValidationError, name: str) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in (name, *one['loc']))}: {one['msg']}"
        for one in error.errors(include_url=False, include_input=False)
    ]


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
