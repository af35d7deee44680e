"""Tools of MCP servers.

    opening     the servers of a configuration
    server      one of them: looked at in the background, its list, its calls
    catalogue   a list as a model may see it, with `schema` (schemas that are followed, within bounds)
    content     a result as a model may read it
    client      sessions, lists and calls over a `transport`: `streamable` HTTP or `sse`, with `wire` (JSON-RPC) and `events`
    builtin     the same by Dapr, for a server that is a Dapr `MCPServer`

Imported only where a configuration has such a tool. Whatever a server does, it costs its calls and nothing else.
"""
