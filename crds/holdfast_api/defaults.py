"""Defaults that the operator's administrator gives to every Agent (chart value `agents`), and the local runner to its one."""

from typing import Any, Literal

from pydantic import Field

from holdfast_api.v1alpha1 import Broker, Memory, Model, Observability, State
from holdfast_api.v1alpha1.pod import core
from holdfast_api.v1alpha1.types import ApiModel


class AgentDefaults(ApiModel):
    """What an Agent that says nothing gets. What an Agent says always wins, field by field at the top level."""

    image: str | None = Field(default=None, description="Image of the agent.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(default=None, description="As in core/v1.")
    image_pull_secrets: list[dict[str, Any]] | None = Field(
        default=None, description="Secrets to pull it with, in each Agent's namespace.", json_schema_extra=core("LocalObjectReference")
    )
    model: Model | None = Field(default=None, description="The LLM.")
    state: State | None = Field(default=None, description="Store of workflows.")
    memory: Memory | None = Field(default=None, description="Store of documents; left out: the same as state.")
    pubsub: Broker | None = Field(default=None, description="The broker of events.")
    observability: Observability | None = Field(default=None, description="Traces, logs and metrics.")
    resources: dict[str, Any] | None = Field(
        default=None, description="Of the agent's container.", json_schema_extra=core("ResourceRequirements")
    )
    sidecar_resources: dict[str, Any] | None = Field(default=None, description="Of daprd.", json_schema_extra=core("ResourceRequirements"))
