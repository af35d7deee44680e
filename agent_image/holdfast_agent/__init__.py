"""The program in an agent's pod: one durable LLM agent on Dapr Workflow.

    serve      the HTTP API, the durable loop and its activities (`program` ties them together)
    tools/     what the model may call, over HTTP or as Python functions in processes of their own
    functions/ the program of those processes
    scripted/  a model that follows a script, for demos, tests and a user's own CI
    local/     one agent without a cluster: Dapr's processes, SQLite and the same YAML

Nothing is imported here: each of these starts in a process of its own and pays only for what it needs. In `serve` arrows point one
way: `server` -> `runs` -> `workflow` (deterministic) -> `activities` (every side effect) -> `model`, `tools`, `store` -> `sidecar`;
`engine` is the one place that knows Dapr's workflow SDK.
"""
