"""`python -P -m holdfast_agent.functions FD`; see the package's docstring."""

import ctypes
import os
import signal
import socket
import sys
from types import ModuleType

from holdfast_agent.functions.frames import Frame, encode, receive
from holdfast_agent.functions.function import Failed, Function, understand
from holdfast_agent.functions.loop import Loop
from holdfast_agent.functions.module import Problem, function, load

_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Serve until the other side closes the socket or dies."""
    _die_with_parent()
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)  # a program that a tool starts must not keep it open
    first = receive(connection)
    if first is None:
        return
    try:
        functions = _functions(first)
    except Problem as problem:
        connection.sendall(encode({"problem": str(problem)}))
        return
    described = {tool: {"description": each.description, "inputSchema": each.input_schema} for tool, each in functions.items()}
    connection.sendall(encode({"functions": described}))
    loop = Loop()
    while (call := receive(connection)) is not None:
        connection.sendall(encode(_answer(functions, call, loop)))


def _functions(first: Frame) -> dict[str, Function]:
    """Every tool's function; a text that several tools share is run once."""
    modules: dict[tuple[str, str], ModuleType] = {}
    functions: dict[str, Function] = {}
    for tool, wanted in first["tools"].items():
        filename, source = wanted["filename"], wanted["source"]
        try:
            if (filename, source) not in modules:
                modules[filename, source] = load(source, filename, f"holdfast_tool_{len(modules)}")
            functions[tool] = understand(function(modules[filename, source], wanted["function"]), filename)
        except Problem as problem:
            raise Problem(f"tool {tool!r}: {problem}") from None
    return functions


def _answer(functions: dict[str, Function], call: Frame, loop: Loop) -> Frame:
    try:
        called = functions[call["tool"]]
        if call.get("check"):
            called.check(call["arguments"])
            return {"content": ""}
        return {"content": called.call(call["arguments"], call["key"], loop.wait)}
    except Failed as failed:
        return {"failure": str(failed), "returned": failed.returned}


def _die_with_parent() -> None:
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
