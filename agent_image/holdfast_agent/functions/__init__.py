"""The program that runs users' Python tools: one process, one call at a time, started and ended by `holdfast_agent.tools.python`.

    python -P -m holdfast_agent.functions FD

It speaks frames over the inherited socket FD (see `frames`). The first frame holds the modules' texts and the functions to offer, and
is answered with what they look like to a model, or with what keeps them from being used. Every further frame is a call.

It is a process of its own because Python code cannot be ended in any other way, and because it must not see what the agent sees: its
environment has no token in it, and its output goes to the agent's log.

    module      from a text to a module, and what is wrong with it
    function    from a function to a schema, and from arguments to a result
    schema      JSON Schema as models understand it
    frames      the wire
"""
