"""One agent without a cluster: the same YAML, Dapr's own processes, SQLite.

    python -m holdfast_agent run agent.yaml --task "Plan a weekend in Zagreb"

The run is as durable as in a cluster: after Ctrl-C, or `kill -9` of everything, the same command goes on where it stopped.

    command     the command line, and its exit codes
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
