"""The API of Holdfast: what an Agent may say, what it becomes, and the names both sides agree on.

Three readers share this package and nothing else: the operator, the agent's program and the generator of `crds/*.yaml`.
It depends on pydantic and YAML alone, so the agent's image carries no Kubernetes client and the operator no Dapr SDK.

    v1alpha1/   the resource as the user writes it (pydantic models; the CRD is generated from them)
    resolve     Agent + defaults + ConfigMap texts -> AgentConfig, a pure function
    config      AgentConfig, the one document that a running agent reads
    dapr        the Dapr objects that follow from a model or a store, as plain dicts
    names       names, labels, ports and environment variables
    conditions  condition types and reasons
    defaults    what an administrator gives to every Agent
    schema      models -> structural schema; `crds/generate.py` writes the files
"""
