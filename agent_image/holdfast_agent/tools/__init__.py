"""What the model may call.

    spec        the words: ToolSpec, ToolResult, ToolboxError
    toolbox     all tools of one AgentConfig behind one `call`
    arguments   arguments against their JSON Schema
    http        an HTTP request per call, with `url` (templates) and `reply` (what an answer means)
    sources     tools that are not known beforehand
    mcp         tools of MCP servers
    python      functions in child processes, with `pool` and `worker`; the program of those is `holdfast_agent.functions`

A call never raises: it ends in a `ToolResult`, or in a `Failure` that the durable loop can act on.
"""

from holdfast_agent.tools.spec import ToolboxError, ToolResult, ToolSpec
from holdfast_agent.tools.toolbox import Toolbox

__all__ = ["ToolResult", "ToolSpec", "Toolbox", "ToolboxError"]
