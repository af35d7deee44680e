"""From the text in a ConfigMap to a module, or to words that say what is wrong with it."""

import linecache
import sys
import traceback
from types import ModuleType
from typing import Any

_MISSING_MODULE = "use an image that has it (spec.image), or write the function without it"


class Problem(Exception):  # noqa: N818 - it becomes a message, nobody sees a traceback of it
    """A function cannot be offered; the message says where, what and how to mend it."""


def load(source: str, filename: str, name: str) -> ModuleType:
    """Run a module's text.

    Args:
        source: the text.
        filename: `configmap/key`; tracebacks show it, with the lines of the text.
        name: under which it is in `sys.modules`, where pydantic looks for the names in annotations.

    Raises:
        Problem: it does not parse, or running it raised.
    """
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = ModuleType(name)
    module.__file__ = filename
    sys.modules[name] = module
    try:
        exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - this is what the process is for
    except SyntaxError as error:
        if error.filename == filename:
            text = (error.text or "").strip()
            shown = f" (`{text}`)" if text else ""
            raise Problem(
                f"{place(filename, error.lineno)}: {type(error).__name__}: {error.msg}{shown}: correct the text of that key"
            ) from None
        raise Problem(_raised(error, filename)) from None
    except BaseException as error:  # noqa: BLE001 - whatever a user's module does, SystemExit included, is told the same way
        traceback.print_exc()
        raise Problem(_raised(error, filename)) from None
    return module


def function(module: ModuleType, name: str) -> Any:  # noqa: ANN401 - whatever the module has under that name
    """The module's function.

    Raises:
        Problem: there is none of that name; the message lists those there are.
    """
    filename = str(module.__file__)
    found = getattr(module, name, None)
    if callable(found) and not isinstance(found, type):
        return found
    own = [
        each
        for each, value in vars(module).items()
        if callable(value)
        and not isinstance(value, type)
        and not each.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]
    have = f"there is no function {name!r} (there are: {', '.join(own) or 'none'})"
    raise Problem(f"{place(filename)}: {have}: correct python.function, or add the function")


def place(filename: str, line: int | None = None) -> str:
    """Where in the user's objects a text is."""
    config_map, _, key = filename.partition("/")
    return f"ConfigMap {config_map!r}, key {key!r}" + (f", line {line}" if line else "")


def _raised(error: BaseException, filename: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename]
    fix = _MISSING_MODULE if isinstance(error, ModuleNotFoundError) else "importing the module must not raise"
    return f"{place(filename, lines[-1] if lines else None)}: {type(error).__name__}: {error}: {fix}"
