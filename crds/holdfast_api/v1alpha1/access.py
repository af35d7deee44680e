"""`spec.access`: who may call the agent."""

from typing import Annotated, Literal

from pydantic import Field

from holdfast_api.v1alpha1.types import DIFFERENT, AgentName, ApiModel, list_set


class Access(ApiModel):
    """Who may call the agent's HTTP API."""

    auth: Literal["token", "none"] = Field(
        default="token",
        description="token: callers send `Authorization: Bearer` and the token of Secret NAME-app-token. none: anybody who reaches it.",
    )
    callers: Annotated[list[AgentName], list_set(max_length=64), DIFFERENT] = Field(
        default_factory=list,
        description="App ids of this namespace that may call by Dapr's service invocation: other Agents that have this one as a tool, "
        "and any app with a sidecar. Everybody else is denied there.",
    )
