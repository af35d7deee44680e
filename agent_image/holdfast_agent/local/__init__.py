"""One agent without a cluster: the same YAML, Dapr's own processes, SQLite.

    python -m holdfast_agent run agent.yaml --task "Plan a weekend in Zagreb"
    python -m holdfast_agent serve agent.yaml

The run is as durable as in a cluster: after Ctrl-C, or `kill -9` of everything, the same command goes on where it stopped.

    command     `run`: the command line, and its exit codes
    serve       `serve`, the same
    options     what both are told alike
    signals     Ctrl-C and SIGTERM, for both
    decisions   approvals, asked at the terminal
    display     the steps of a run as lines
    trace       a run as a tree of what took how long
    documents   the YAML file: an Agent, and the ConfigMaps, Secrets and Components that it names
    environment spec.env and the Secrets, as variables
    workspace   the folder that holds everything of one agent, and its locks
    manifests   what daprd reads
    binaries    where Dapr's programs are
    ports       free ports
    process     one child process that cannot outlive us
    processes   placement, scheduler and daprd together
    session     all of them and the agent's server, started and ended
    client      the agent's HTTP API, as the command uses it
"""
