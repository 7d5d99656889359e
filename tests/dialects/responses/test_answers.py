"""Answers, judged by the SDK: every event is one of its types, and its accumulator takes the sequence.

Golden sequences follow OpenAI's API reference, "Streaming events" (2026).
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.conversation import RedactedThinking, Refusal, Text, Thinking, ToolCall
from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    Logprobs,
    RedactedThinkingDelta,
    RefusalDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.responses.answers import (
    ResponsesDocumentEncoder,
    ResponsesStreamEncoder,
    encode_stream_failure,
    response_id,
)
from mrproxy.dialects.responses.requests import decode_request
from tests.dialects.responses import sdk
from tests.fuzzing import fuzz

CONTEXT = AnswerContext("0a1b-2c3d", "m", 1_700_000_000.5)
PLAIN = {"model": "m", "input": "hi"}
STOP = Finish(FinishReason.STOP)


def stream_encoder(**fields: Any) -> ResponsesStreamEncoder:
    return ResponsesStreamEncoder(CONTEXT, decode_request(json.dumps(PLAIN | fields).encode()))


def document_encoder(**fields: Any) -> ResponsesDocumentEncoder:
    return ResponsesDocumentEncoder(CONTEXT, decode_request(json.dumps(PLAIN | fields).encode()))


def stream(deltas: list[Delta], **fields: Any) -> list[dict[str, Any]]:
    encoder = stream_encoder(**fields)
    return sdk.parse_stream(encoder.send([Begin()]) + encoder.send(deltas) + encoder.send([End()]) + encoder.finish())


def document(deltas: list[Delta], **fields: Any) -> dict[str, Any]:
    encoder = document_encoder(**fields)
    assert encoder.send([Begin(), *deltas, End()]) == b""
    found: dict[str, Any] = json.loads(encoder.finish())
    return found


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def call(number: int, *fragments: str) -> list[Delta]:
    begin = ToolCallBegin(number, f"call_{number}", f"f{number}")
    return [begin, *(ToolCallArguments(number, fragment) for fragment in fragments)]


def test_a_text_is_told_in_the_documented_order() -> None:
    report = Report(TokenReport(9, 3, cached_tokens=4, reasoning_tokens=2))
    events = stream([TextDelta("Hel"), TextDelta("lo"), STOP, report])
    assert names(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.get("delta") for event in events[4:6]] == ["Hel", "lo"]
    response = events[-1]["response"]
    assert response["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }
    assert response["id"] == events[0]["response"]["id"] == "resp_0a1b2c3d" == response_id("0a1b-2c3d")
    assert response["created_at"] == 1_700_000_000
    found = sdk.accumulate(sdk.check_events(events))
    assert found is not None
    assert found.output_text == "Hello"


def test_thinking_then_text_then_tools_are_items_in_that_order() -> None:
    deltas: list[Delta] = [ThinkingDelta("hm"), ThinkingDelta("m"), TextDelta("I look"), *call(0, '{"a":', "1}")]
    events = stream([*deltas, Finish(FinishReason.TOOL_CALLS)])
    assert names(events)[2:] == [
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    output = events[-1]["response"]["output"]
    assert [(item["type"], item["id"], item["status"]) for item in output] == [
        ("reasoning", "rs_0a1b2c3d_0", "completed"),
        ("message", "msg_0a1b2c3d_1", "completed"),
        ("function_call", "fc_0a1b2c3d_2", "completed"),
    ]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "hmm"}]
    assert output[0]["summary"] == []
    assert (output[2]["call_id"], output[2]["name"], output[2]["arguments"]) == ("call_0", "f0", '{"a":1}')
    assert sdk.accumulate(sdk.check_events(events)) is not None


def test_interleaved_calls_stay_apart_and_in_the_order_of_their_begins() -> None:
    first, second = ToolCallBegin(0, "a", "f"), ToolCallBegin(1, "b", "g")
    pieces: list[Delta] = [ToolCallArguments(0, "{"), second, ToolCallArguments(1, '{"x"'), ToolCallArguments(0, "}")]
    events = stream([first, *pieces, ToolCallArguments(1, ":2}"), Finish(FinishReason.TOOL_CALLS)])
    output = events[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("a", "{}"), ("b", '{"x":2}')]
    found = sdk.accumulate(sdk.check_events(events))
    assert found is not None
    assert [item.to_dict()["arguments"] for item in found.output] == ["{}", '{"x":2}']


def test_a_whole_call_ends_when_the_next_one_begins() -> None:
    events = stream([*call(0, '{"a":1}'), *call(1, "{}"), ToolCallArguments(0, "\n"), Finish(FinishReason.TOOL_CALLS)])
    assert names(events)[2:8] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
    ]
    assert events[-1]["response"]["output"][0]["arguments"] == '{"a":1}'


def test_a_function_without_arguments_is_given_an_empty_object() -> None:
    events = stream([*call(0), Finish(FinishReason.TOOL_CALLS)])
    assert [event["delta"] for event in events if event["type"].endswith("arguments.delta")] == ["{}"]
    assert events[-1]["response"]["output"][0]["arguments"] == "{}"


def test_text_between_calls_is_a_message_of_its_own() -> None:
    deltas: list[Delta] = [
        TextDelta("a"),
        *call(0, "{"),
        TextDelta("b"),
        ToolCallArguments(0, "}"),
        TextDelta("c"),
        STOP,
    ]
    encoder = stream_encoder()
    events = sdk.parse_stream(encoder.send(deltas) + encoder.finish())
    found = sdk.accumulate(sdk.check_events(events))
    assert found is not None
    assert [item.type for item in found.output] == ["message", "function_call", "message"]
    assert found.output_text == "abc"
    (message,) = encoder.output_messages
    assert message.parts == (Text("a"), ToolCall("call_0", "f0", "{}"), Text("bc"))


def test_a_refusal_is_a_part_beside_the_text() -> None:
    encoder = stream_encoder()
    deltas: list[Delta] = [TextDelta("Well"), RefusalDelta("I can"), RefusalDelta("not"), STOP]
    events = sdk.parse_stream(encoder.send(deltas) + encoder.finish())
    sdk.accumulate(sdk.check_events(events))
    assert names(events)[6:-1] == [
        *("content_part.done", "content_part.added", "refusal.delta", "refusal.delta", "refusal.done"),
        *("content_part.done", "output_item.done"),
    ]
    (item,) = events[-1]["response"]["output"]
    assert item["content"][1] == {"type": "refusal", "refusal": "I cannot"}
    assert encoder.output_messages[0].parts == (Text("Well"), Refusal("I cannot"))


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (FinishReason.LENGTH, "max_output_tokens"),
        (FinishReason.CONTENT_FILTER, "content_filter"),
        (FinishReason.REFUSAL, "content_filter"),
        (FinishReason.PAUSE, None),
    ],
)
def test_an_answer_that_was_cut_is_incomplete_and_says_why(reason: FinishReason, why: str | None) -> None:
    events = stream([*call(0, "{}"), TextDelta("Hel"), Finish(reason)])
    sdk.accumulate(sdk.check_events(events))
    last = events[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "incomplete"
    assert last["response"]["incomplete_details"] == {"reason": why}
    assert [item["status"] for item in last["response"]["output"]] == ["completed", "incomplete"]


def test_a_model_that_declined_has_completed_its_answer() -> None:
    found = document([RefusalDelta("no"), Finish(FinishReason.REFUSAL)])
    assert (found["status"], found["incomplete_details"]) == ("completed", None)


def test_a_call_that_was_cut_off_is_told_and_not_continued_from() -> None:
    encoder = document_encoder()
    encoder.send([TextDelta("x"), *call(0, '{"a'), Finish(FinishReason.LENGTH)])
    output = json.loads(encoder.finish())["output"]
    assert (output[1]["status"], output[1]["arguments"]) == ("incomplete", '{"a')
    assert encoder.output_messages[0].parts == (Text("x"),)


def test_logprobs_go_with_the_text_before_them() -> None:
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
    content = msgspec.Raw(json.dumps({"content": [token]}).encode())
    odd: list[Delta] = [Logprobs(msgspec.Raw(b"[]")), ThinkingDelta("t"), Logprobs(content)]
    events = stream([*odd, TextDelta("Hi"), Logprobs(content), Logprobs(content), TextDelta("!"), STOP])
    sdk.check_events(events)
    told = [event for event in events if event["type"] == "response.output_text.delta"]
    ours = {**token, "top_logprobs": [{"token": "Hi", "bytes": [], "logprob": -0.5}]}
    assert [(event["delta"], event["logprobs"]) for event in told] == [("Hi", [ours]), ("", [ours]), ("!", [])]
    assert events[-1]["response"]["output"][1]["content"][0]["logprobs"] == [ours, ours]


def test_signed_and_sealed_thinking_is_given_to_those_who_ask_and_always_kept() -> None:
    deltas: list[Delta] = [
        ThinkingDelta("a"),
        ThinkingSignature("sig"),
        RedactedThinkingDelta("xyz"),
        TextDelta("b"),
        STOP,
    ]
    encoder = stream_encoder(include=["reasoning.encrypted_content"])
    events = sdk.parse_stream(encoder.send(deltas) + encoder.finish())
    sdk.check_events(events)
    output = events[-1]["response"]["output"]
    assert [item.get("encrypted_content") for item in output] == ["signature.sig", "redacted.xyz", None]
    assert [item["encrypted_content"] for item in document(deltas)["output"][:2]] == [None, None]
    kept = (Thinking("a", "sig"), RedactedThinking("xyz"), Text("b"))
    assert encoder.output_messages[0].parts == kept
    again = decode_request(json.dumps(PLAIN | {"input": output}).encode())
    assert again.chat.messages == encoder.output_messages


def test_a_signature_alone_makes_an_item() -> None:
    assert [item["type"] for item in document([ThinkingSignature("sig"), STOP])["output"]] == ["reasoning"]


def test_empty_and_role_only_deltas_make_nothing() -> None:
    assert names(stream([TextDelta(""), ThinkingDelta(""), RefusalDelta(""), STOP])) == [
        "created",
        "in_progress",
        "completed",
    ]


def test_empty_deltas_in_the_middle_make_nothing() -> None:
    events = stream([TextDelta("a"), RefusalDelta(""), TextDelta(""), ToolCallArguments(7, "x"), STOP])
    assert names(events).count("output_text.delta") == 1
    assert names(events).count("output_item.added") == 1


def test_other_choices_were_not_asked_for() -> None:
    found = document([TextDelta("a"), TextDelta("b", choice=1), Finish(FinishReason.LENGTH, choice=1), STOP])
    assert found["output"][0]["content"][0]["text"] == "a"
    assert found["status"] == "completed"


def test_without_counts_there_is_no_usage() -> None:
    assert document([STOP])["usage"] is None
    assert document([STOP, Report(TokenReport(total_ns=5))])["usage"] is None
    assert document([STOP, Report(TokenReport(5))])["usage"]["total_tokens"] == 5


def test_a_document_is_the_response_of_the_streams_last_event() -> None:
    deltas: list[Delta] = [ThinkingDelta("t"), TextDelta("a"), *call(0, "{}"), Finish(FinishReason.TOOL_CALLS)]
    found = document(deltas)
    assert found == stream(deltas)[-1]["response"]
    sdk.check_response(found)


def test_the_answer_repeats_the_request() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    asked = {
        "instructions": "Be brief.",
        "max_output_tokens": 9,
        "max_tool_calls": 3,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "previous_response_id": "resp_1",
        "prompt_cache_key": "k",
        "reasoning": {"effort": "low"},
        "safety_identifier": "s",
        "store": False,
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}},
        "tool_choice": {"type": "function", "name": "f"},
        "tools": [tool],
        "top_p": 0.9,
        "user": "u",
    }
    found = document([STOP], **asked)
    assert {name: found[name] for name in asked} == asked
    sdk.check_response(found)


def test_defaults_are_the_apis() -> None:
    found = document([STOP])
    sdk.check_response(found)
    assert found["tools"] == []
    assert found["tool_choice"] == "auto"
    assert found["text"] == {"format": {"type": "text"}}
    assert (found["store"], found["background"], found["parallel_tool_calls"]) == (True, False, True)
    assert found["metadata"] == {}


def test_an_answer_that_breaks_off_fails_and_ends_with_the_error_that_the_sdk_raises() -> None:
    encoder = stream_encoder()
    data = encoder.send([TextDelta("Hel"), Failure("the engine's answer ended early")])
    events = sdk.parse_stream(data + encoder.fail("the engine's answer ended early"))
    assert encoder.failure == "the engine's answer ended early"
    sdk.check_events(events)
    assert names(events)[-3:] == ["output_text.delta", "failed", "error"]
    response = events[-2]["response"]
    assert response["status"] == "failed"
    assert response["error"] == {"code": "server_error", "message": "the engine's answer ended early"}
    assert response["output"][0]["status"] == "incomplete"
    assert events[-1]["error"]["message"] == events[-1]["message"] == "the engine's answer ended early"


def test_a_stream_that_fails_before_it_began_is_a_whole_stream() -> None:
    events = sdk.parse_stream(stream_encoder().fail("no", "rate_limit_exceeded"))
    sdk.check_events(events)
    assert names(events) == ["created", "in_progress", "failed", "error"]


def test_a_failure_can_be_told_without_an_encoder() -> None:
    (event,) = sdk.parse_stream(encode_stream_failure("no", "server_error", 7))
    assert (event["sequence_number"], event["code"], event["message"], event["param"]) == (
        7,
        "server_error",
        "no",
        None,
    )


def test_signs_of_life_are_comments_and_only_in_streams() -> None:
    encoder = stream_encoder()
    assert encoder.ping().startswith(b":")
    assert encoder.ping().endswith(b"\n\n")
    assert encoder.send([]) == b""
    assert document_encoder().ping() == b""


def test_the_response_is_in_progress_until_it_ends() -> None:
    encoder = stream_encoder()
    encoder.send([TextDelta("a")])
    assert encoder.response.status == "in_progress"
    encoder.send([STOP])
    encoder.finish()
    assert encoder.response.status == "completed"


# Any sequence

_TEXTS = st.sampled_from(["", "a", "é😀", '{"', "}", "{}", "\n", "\\u"])
_DELTAS: st.SearchStrategy[Delta] = st.one_of(
    st.builds(TextDelta, _TEXTS),
    st.builds(ThinkingDelta, _TEXTS),
    st.builds(RefusalDelta, _TEXTS),
    st.builds(ThinkingSignature, _TEXTS),
    st.builds(RedactedThinkingDelta, _TEXTS),
    st.builds(ToolCallArguments, st.integers(0, 4), _TEXTS),
    st.builds(Report, st.builds(TokenReport, st.none() | st.integers(0, 9), st.none() | st.integers(0, 9))),
    st.builds(Finish, st.sampled_from(list(FinishReason))),
    st.just(Begin()),
)


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    """Any deltas, with calls that begin in the order of their numbers."""
    deltas = list(draw(st.lists(_DELTAS, max_size=20)))
    places = sorted(draw(st.lists(st.integers(0, len(deltas)), max_size=4)), reverse=True)
    for number, place in enumerate(places):
        index = len(places) - 1 - number
        deltas.insert(place, ToolCallBegin(index, f"call_{index}", "f"))
    return deltas


@fuzz(40)
@given(answers(), st.lists(st.integers(0, 24), max_size=4), st.booleans())
def test_any_answer_is_a_sequence_that_the_sdk_takes(deltas: list[Delta], cuts: list[int], fails: bool) -> None:
    """Invariant: valid events, whatever the deltas and their batches; the accumulated items are the response's."""
    asked = {"include": ["reasoning.encrypted_content"]}
    encoder, whole = stream_encoder(**asked), document_encoder(**asked)
    out, start = b"", 0
    for end in [*sorted(cuts), len(deltas)]:
        out += encoder.send(deltas[start:end])
        start = max(start, end)
    whole.send(deltas)
    ending: Callable[[], bytes] = (lambda: encoder.fail("x")) if fails else encoder.finish
    events = sdk.parse_stream(out + ending())
    found = sdk.accumulate(sdk.check_events(events))
    told = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    if not fails:
        document = json.loads(whole.finish())
        assert document == events[-1]["response"]
        assert sorted(told, key=lambda item: int(item["id"].rpartition("_")[2])) == document["output"]
        assert (found is not None) == (document["status"] == "completed")
        sdk.check_response(document)
        given_back = [*document["output"], {"role": "user", "content": "x"}]
        again = decode_request(json.dumps(PLAIN | {"input": given_back}).encode())
        if all(item["status"] == "completed" for item in document["output"]):
            assert again.chat.messages[:-1] == whole.output_messages
