"""`spec.resiliency`: bounds on calls, and circuit breakers in front of what is down.

There are no retries of calls of models or stores here: those are the workflow's, on durable timers, and retries of retries multiply.
"""

from typing import Annotated

from pydantic import Field

from holdfast_api.v1alpha1.tools import Retries
from holdfast_api.v1alpha1.types import ApiModel, Duration, Rule, seconds

_LONGEST_CALL = 3600.0
_AT_MOST_AN_HOUR = Rule(
    "!has(self.timeout) || duration(self.timeout) <= duration('1h')",
    "timeout is for one call: give at most 1h; limits.runTimeout is for the whole run",
    lambda part: not part.timeout or seconds(part.timeout) <= _LONGEST_CALL,
)


class CircuitBreaker(ApiModel):
    """After failures in a row nothing is sent for a while, then one call tries whether it is back."""

    consecutive_failures: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="Failures in a row that open it.")
    timeout: Duration = Field(default="30s", description="How long it stays open.")


class ModelResiliency(ApiModel):
    """Calls of models, fallbacks and the critic's among them. Each has its own breaker."""

    RULES = (_AT_MOST_AN_HOUR,)

    timeout: Duration | None = Field(
        default=None, description="How long one call may take, for models that have no `timeout` of their own. Left out: 120s."
    )
    circuit_breaker: CircuitBreaker = Field(
        default_factory=CircuitBreaker, description="Opens before a model that is down. Left out: 5 failures, 30s."
    )


class ToolResiliency(ApiModel):
    """Calls of tools."""

    timeout: Duration | None = Field(
        default=None, description="How long one call may take, for tools that have no `timeout` of their own. Left out: 60s."
    )
    retries: Retries | None = Field(default=None, description="For tools that have no `retries` of their own.")
    circuit_breaker: CircuitBreaker | None = Field(
        default=None, description="Opens before another Agent that is a tool and is down. Left out: none, each call is tried."
    )


class StateResiliency(ApiModel):
    """Calls of the stores of workflows and of documents."""

    RULES = (_AT_MOST_AN_HOUR,)

    timeout: Duration | None = Field(
        default=None, description="How long one call may take. Left out: as long as the store's Component says."
    )
    circuit_breaker: CircuitBreaker | None = Field(default=None, description="Opens before a store that is down. Left out: none.")


class Resiliency(ApiModel):
    """What is done about calls that hang and callees that are down."""

    model: ModelResiliency = Field(default_factory=ModelResiliency, description="Calls of models.")
    tools: ToolResiliency = Field(default_factory=ToolResiliency, description="Calls of tools.")
    state: StateResiliency = Field(default_factory=StateResiliency, description="Calls of the stores.")
