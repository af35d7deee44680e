"""The final answer against `output.schema`: what the model is told beforehand, what it is told when its answer does not fit. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from holdfast_api.names import canonical

MAX_BYTES: Final = 256 * 1024
_MAX_PROBLEMS: Final = 5
_MAX_SHOWN: Final = 160
_FENCE: Final = "```"
_FENCES: Final = 2
_MAX_LOOKED_AT: Final = 100
_NAMED: Final = frozenset({"required", "additionalProperties", "unevaluatedProperties", "dependentRequired", "propertyNames"})
"""Keywords whose own message names the property; the value would be the whole object."""


@dataclass(frozen=True)
class Unfit:
    """An answer that does not fit; `problem` says in one line where, what is there and what the schema wants."""

    problem: str

    @property
    def feedback(self) -> str:
        """What the model is told."""
        return f"Your final answer cannot be taken. {self.problem}. Give the whole answer again, corrected, and nothing else."


class Contract:
    """What the final answer has to be; one for each revision that has an `output.schema`.

    Attributes:
        instructions: what the model is told about it, for the end of its prompt.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Make the schema ready.

        Raises:
            ValueError: it is no JSON Schema; the message says where.
        """
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            where = "".join(f".{part}" for part in error.absolute_path)
            raise ValueError(f"output.schema{where} is no JSON Schema: {_short(error.message)}") from None
        # With a registry of its own it looks nothing up in the network.
        self._validator = Draft202012Validator(schema, registry=Registry())
        self.instructions = (
            "Your final answer must be one JSON value and nothing else: no words around it, no code fence. "
            f"It must be valid against this JSON Schema:\n{canonical(schema)}"
        )

    def read(self, content: str) -> str | Unfit:
        """The JSON text in what the model said, or why it does not fit."""
        size = len(content.encode(errors="replace"))
        if size > MAX_BYTES:
            return _unfit(f"It has {size} bytes, and at most {MAX_BYTES} are taken")
        text = unfenced(content)
        try:
            value = json.loads(text, parse_constant=_refused)
        except (ValueError, RecursionError) as error:
            return _unfit(f"It is no JSON ({error}); it begins with {_short(json.dumps(text, ensure_ascii=False))}")
        problem = self._problem(value)
        return _unfit(problem) if problem else text

    def _problem(self, value: object) -> str | None:
        try:
            found = list(islice(self._validator.iter_errors(value), _MAX_LOOKED_AT))
        except Unresolvable as error:
            return f"output.schema refers to {error.ref}, which is not in it"
        except RecursionError:
            return "It is nested too deeply"
        found.sort(key=lambda error: [str(part) for part in error.absolute_path])
        lines = [_line(best_match([error]) or error) for error in found[:_MAX_PROBLEMS]]
        if len(found) > _MAX_PROBLEMS:
            more = "at least " if len(found) == _MAX_LOOKED_AT else ""
            lines.append(f"and {more}{len(found) - _MAX_PROBLEMS} more")
        return "; ".join(lines) or None


def unfenced(content: str) -> str:
    """What is in the one code fence of an answer; the whole answer if it has none or several."""
    text = content.strip()
    if text.startswith(("{", "[")):
        return text
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.strip().startswith(_FENCE)]
    if len(fences) != _FENCES or lines[fences[1]].strip() != _FENCE:
        return text
    return "\n".join(lines[fences[0] + 1 : fences[1]]).strip()


def _unfit(problem: str) -> Unfit:
    # A model can write half a surrogate pair into JSON, which is no text that could be stored or sent.
    return Unfit(problem.encode(errors="replace").decode())


def _line(error: ValidationError) -> str:
    where = _short("$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path))
    if error.validator in _NAMED:
        return f"{where}: {_short(error.message)}"
    return f"{where} is {_shown(error.instance)}, and the schema wants {error.validator}: {_shown(error.validator_value)}"


def _shown(value: object) -> str:
    return _short(json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
