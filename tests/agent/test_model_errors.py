"""What providers say when a model call fails, and what becomes of it; and what an answer may look like."""

import grpc
import pytest
from dapr.proto import api_v1

from holdfast_agent.activities import bounded
from holdfast_agent.documents import ToolCall
from holdfast_agent.model import MAX_CALLS, assistant_message, read_answer
from holdfast_agent.outcome import Failure
from holdfast_agent.providers import model_failure
from holdfast_agent.segments import segments_of
from holdfast_api.config import ModelConfig

MODEL = ModelConfig(component="llm", label="openai/gpt-5", secret="keys/openai")

TEXTS = [
    ("permanent", "API returned unexpected status code: 401: Incorrect API key provided: sk-x"),
    ("permanent", "API returned unexpected status code: 400: This model's maximum context length is 8192 tokens"),
    ("permanent", "API returned unexpected status code: 429: You exceeded your current quota (insufficient_quota)"),
    ("permanent", "API returned unexpected status code: 404: The model `gpt-9` does not exist"),
    ("transient", "API returned unexpected status code: 429: Rate limit reached for gpt-5-mini (rate_limit_exceeded)"),
    ("transient", "API returned unexpected status code: 500: The server had an error (server_error)"),
    ("transient", "API returned unexpected status code: 503"),
    ("permanent", 'anthropic: {"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'),
    ("transient", 'anthropic: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'),
    ("permanent", "googleapi: Error 400: API key not valid. Please pass a valid API key., API_KEY_INVALID"),
    ("transient", "googleapi: Error 429: Resource has been exhausted, RESOURCE_EXHAUSTED"),
    ("permanent", "operation error Bedrock Runtime: InvokeModel, StatusCode: 403, AccessDeniedException: no access"),
    ("transient", "operation error Bedrock Runtime: InvokeModel, StatusCode: 429, ThrottlingException: slow down"),
    ("permanent", "(HTTP Error 422) unprocessable"),
    ("transient", "(HTTP Error 408) timeout"),
    ("permanent", 'model "llama9:latest" not found, try pulling it first'),
    ("transient", "dial tcp 10.0.0.1:443: connect: connection refused"),
    ("transient", "something nobody has seen before, 4711"),
]


@pytest.mark.parametrize(("kind", "text"), TEXTS)
def test_a_providers_words_decide_whether_trying_again_can_help(kind, text):
    assert model_failure(grpc.StatusCode.INTERNAL, text, MODEL).kind == kind


def test_what_the_sidecar_itself_says_is_told_apart():
    assert model_failure(grpc.StatusCode.DEADLINE_EXCEEDED, "", MODEL).kind == "transient"
    assert model_failure(grpc.StatusCode.UNAVAILABLE, "connection refused", MODEL).kind == "transient"
    assert model_failure(grpc.StatusCode.INVALID_ARGUMENT, "conversation component llm not found", MODEL).kind == "transient"
    assert model_failure(grpc.StatusCode.UNIMPLEMENTED, "denied", MODEL).kind == "permanent"
    too_large = model_failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "grpc: trying to send message larger than max (9 vs. 8)", MODEL)
    assert too_large.kind == "permanent"


def test_a_model_that_answers_too_late_is_known_as_silent():
    for code, text in ((grpc.StatusCode.DEADLINE_EXCEEDED, ""), (grpc.StatusCode.INTERNAL, "Post https://x: context deadline exceeded")):
        failure = model_failure(code, text, MODEL)
        assert (failure.kind, failure.cause) == ("transient", "silent")
        assert "spec.model.timeout" in failure.message


def _reply(*calls, content="", reason=""):
    message = api_v1.ConversationResultMessage(
        content=content,
        tool_calls=[
            api_v1.ConversationToolCalls(id=name, function=api_v1.ConversationToolCallsOfFunction(name="f", arguments="{}"))
            for name in calls
        ],
    )
    return api_v1.ConversationResponseAlpha2(
        outputs=[api_v1.ConversationResultAlpha2(choices=[api_v1.ConversationResultChoices(message=message, finish_reason=reason)])]
    )


def test_calls_without_an_id_or_with_one_that_is_taken_get_their_own():
    answer = read_answer(_reply("a", "a", "", "b"), turn=3)
    assert [call.id for call in answer.calls] == ["a", "call_3_1", "call_3_2", "b"]


def test_an_id_that_a_call_of_an_earlier_turn_has_is_replaced():
    answer = read_answer(_reply("a", "b"), turn=3, taken={"a"})
    assert [call.id for call in answer.calls] == ["call_3_0", "b"]


def test_more_calls_than_a_turn_may_have_are_dropped_and_counted():
    answer = read_answer(_reply(*map(str, range(MAX_CALLS + 3))), turn=1)
    assert (len(answer.calls), answer.dropped, answer.usage.tool_calls) == (MAX_CALLS, 3, MAX_CALLS)


def test_an_answer_without_a_choice_is_asked_for_again():
    assert read_answer(api_v1.ConversationResponseAlpha2(), turn=1) == Failure(
        "transient", "the model answered without a choice", cause="charged"
    )


def test_an_empty_answer_is_no_answer():
    assert read_answer(_reply(content=" \n"), turn=1) == Failure("transient", "the model gave an empty answer", cause="charged")
    assert read_answer(_reply("a"), turn=1).calls


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "refusal"])
def test_an_answer_that_the_provider_withheld_is_not_taken_for_the_whole(reason):
    failure = read_answer(_reply(content="It is the 3rd of", reason=reason), turn=1)
    assert failure.kind == "permanent"
    assert repr(reason) in failure.message
    assert read_answer(_reply("a", reason=reason), turn=1).calls
    assert read_answer(_reply(content="done", reason="stop"), turn=1).content == "done"


@pytest.mark.parametrize("reason", ["length", "max_tokens"])
def test_an_answer_that_ended_too_early_is_known_as_such(reason):
    assert read_answer(_reply(content="It is the 3rd of", reason=reason), turn=1).cut_off
    assert not read_answer(_reply(content="done", reason="stop"), turn=1).cut_off


def test_tokens_are_estimated_where_the_provider_does_not_count_them():
    answer = read_answer(_reply(content="x" * 400), turn=1, asked=lambda: 4000)
    assert answer.estimated
    assert (answer.usage.input_tokens, answer.usage.output_tokens // 10) == (1000, 10)
    counted = _reply(content="x" * 400)
    counted.outputs[0].usage.CopyFrom(api_v1.ConversationResultAlpha2CompletionUsage(prompt_tokens=7, completion_tokens=5))
    answer = read_answer(counted, turn=1, asked=lambda: 4000)
    assert (answer.estimated, answer.usage.input_tokens, answer.usage.output_tokens) == (False, 7, 5)


REFUSED = [
    "API returned unexpected status code: 401: Incorrect API key provided: sk-proj-abcdefghijklmnop",
    'anthropic: {"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
    "API returned unexpected status code: 403",
    "googleapi: Error 400: API key not valid. Please pass a valid API key., API_KEY_INVALID",
]


@pytest.mark.parametrize("text", REFUSED)
def test_a_key_that_is_not_accepted_is_named_with_its_secret_and_never_shown(text):
    failure = model_failure(grpc.StatusCode.INTERNAL, text, MODEL)
    assert (failure.kind, failure.cause) == ("permanent", "auth")
    for part in ("openai/gpt-5", "Secret 'keys', key 'openai'", "spec.model.apiKeySecretRef"):
        assert part in failure.message
    assert "abcdefgh" not in failure.message


def test_without_a_secret_of_ours_the_component_is_named():
    failure = model_failure(grpc.StatusCode.INTERNAL, REFUSED[0], ModelConfig(component="their-llm", label="their-llm"))
    assert "Component 'their-llm'" in failure.message


TOO_LONG = [
    "API returned unexpected status code: 400: This model's maximum context length is 8192 tokens (context_length_exceeded)",
    'anthropic: {"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}',
    "googleapi: Error 400: The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)., INVALID_ARGUMENT",
    "operation error Bedrock Runtime: Converse, StatusCode: 400, ValidationException: Input is too long for requested model.",
    "API returned unexpected status code: 429: Request too large for gpt-5 on tokens per min (TPM): Limit 30000 (rate_limit_exceeded)",
]


@pytest.mark.parametrize("text", TOO_LONG)
def test_a_conversation_that_is_too_long_is_told_apart_because_it_can_be_summed_up(text):
    failure = model_failure(grpc.StatusCode.INTERNAL, text, MODEL)
    assert (failure.kind, failure.cause) == ("permanent", "context")
    assert "spec.model.contextTokens is 128000" in failure.message


def test_what_no_provider_would_take_back_is_made_presentable():
    odd = [
        ToolCall("1", "get weather!", "{not json"),
        ToolCall("2", "x" * 100, ""),
        ToolCall("3", "", "[1]"),
        ToolCall("4", "ok", '{"a": 1}'),
    ]
    calls = assistant_message("", odd).of_assistant.tool_calls
    assert [call.function.name for call in calls] == ["get_weather_", "x" * 64, "unnamed", "ok"]
    assert [call.function.arguments for call in calls] == ['{"invalid": "{not json"}', "{}", '{"invalid": "[1]"}', '{"a": 1}']


def test_a_tools_text_is_cut_to_what_one_message_may_hold_and_says_so():
    assert bounded("short") == "short"
    cut = bounded("é" * 200_000)
    assert len(cut.encode()) < 257 * 1024
    assert "cut off here: the tool returned 400000 bytes" in cut
    assert bounded("half \ud800 pair") == "half ? pair"


def test_segments_hold_all_messages_in_order_and_none_is_too_big():
    messages = [{"key": str(number), "content": "x" * 200_000} for number in range(10)]
    segments = list(segments_of(messages, last_turn=20))
    assert [message for segment in segments for message in segment["messages"]] == messages
    assert [len(segment["messages"]) for segment in segments] == [2] * 5
    assert {segment["last_turn"] for segment in segments} == {20}
    assert list(segments_of([], last_turn=0)) == []
    assert len(list(segments_of([{"content": "x" * 2_000_000}], last_turn=1))) == 1
