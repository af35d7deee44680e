"""What becomes of one run: its bounds, what its answer must be, and how long it is kept."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from holdfast_api.v1alpha1.model import OneModel
from holdfast_api.v1alpha1.types import ApiModel, Duration

FreeSchema = Annotated[dict[str, Any], Field(json_schema_extra={"x-free-object": True})]


class Limits(ApiModel):
    """What runs may use at most. Counted from recorded results, so a restart neither forgets nor counts twice."""

    max_iterations: Annotated[int, Field(ge=1, le=10000)] = Field(
        default=25, description="Calls of the model in one run, tools between them."
    )
    run_timeout: Duration = Field(default="24h", description="How long one run may take, waiting included.")
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = Field(
        default=None, description="Tokens of one run, input and output, as the provider counts them. Left out: no bound but maxIterations."
    )
    max_tool_calls: Annotated[int, Field(ge=1, le=100_000)] = Field(default=250, description="Calls of tools in one run.")
    max_repeated_calls: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=8,
        description="How often, in one run, a tool may give the same result for the same arguments; once more counts as a loop.",
    )
    max_concurrent_runs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=50,
        description="Runs that one replica works on; further ones are refused with 429. Those that wait for people do not count.",
    )
    max_depth: Annotated[int, Field(ge=1, le=32)] | None = Field(
        default=None,
        description="How many agents may be in a row, this one counted, when Agents have Agents as tools. Left out: 5.",
    )
    on_exceeded: Literal["fail", "answer"] = Field(
        default="fail",
        description="What happens to a run past maxIterations, maxTokens, maxToolCalls or maxRepeatedCalls. fail: it ends as failed. "
        "answer: the model is asked once more, without tools, for its best answer.",
    )


class Output(ApiModel):
    """What the final answer must be: JSON that a schema holds for."""

    json_schema: FreeSchema = Field(alias="schema", description="JSON Schema of the answer (draft 2020-12).")
    max_repairs: Annotated[int, Field(ge=0, le=10)] = Field(
        default=2, description="How often the model is told what is wrong with its answer before the run fails."
    )


class Evaluation(ApiModel):
    """A critic judges each answer; the model mends what is criticised."""

    criteria: Annotated[str, StringConstraints(min_length=1, max_length=16384)] = Field(
        description="What a good answer is, for the critic."
    )
    model: OneModel | None = Field(default=None, description="The critic. Left out: the agent's own model.")
    max_rounds: Annotated[int, Field(ge=1, le=10)] = Field(
        default=2, description="Answers that the critic may send back; the one after them is given as it is."
    )


class Retention(ApiModel):
    """How long documents are kept; then the run is as if it had never been."""

    completed: Duration = Field(default="72h", description="After the end of a run that was answered.")
    failed: Duration = Field(default="720h", description="After the end of a run that failed or was canceled.")
    sessions: Duration | None = Field(default=None, description="After a session's last run. Left out: until it is deleted.")
