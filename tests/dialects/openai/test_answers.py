"""Answers to chats. Streams as engines send them, shortened in their texts only. Sources, all 2026: OpenAI API
reference, "Chat completion chunk object"; vLLM chat_completion/protocol.py and serving.py; llama.cpp
tools/server/README.md and server-task.cpp; ollama openai/openai.go."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from mrproxy.canonical.deltas import (
    Begin,
    Context,
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
from mrproxy.dialects.openai.answers import (
    ChatDocumentDecoder,
    ChatDocumentEncoder,
    ChatStreamDecoder,
    ChatStreamEncoder,
)
from mrproxy.dialects.openai.streams import ENDED_EARLY
from tests.dialects import golden
from tests.dialects.openai.answering import CONTEXT, REQUEST, answers, decode, encode, ends_well_or_fails, joined
from tests.fuzzing import fuzz, mutated, split_at

BEGIN = Begin("c-1", "m", 1_790_000_000)
DONE = b"data: [DONE]\n\n"


def event(choices: str, more: str = "") -> bytes:
    head = '"id":"c-1","object":"chat.completion.chunk","created":1790000000,"model":"m"'
    return f'data: {{{head},"choices":[{choices}]{more}}}\n\n'.encode()


def choice(delta: str, finish: str = "null", more: str = "", index: int = 0) -> str:
    return f'{{"index":{index},"delta":{delta},"finish_reason":{finish}{more}}}'


def stream(*events: bytes) -> list[Delta]:
    return decode(ChatStreamDecoder(REQUEST), events)


def document(body: bytes) -> list[Delta]:
    return decode(ChatDocumentDecoder(REQUEST), [body])


ROLE = event(choice('{"role":"assistant","content":""}'))
VLLM_THINKS = (
    event(choice('{"role":"assistant","content":"","reasoning_content":null}', more=',"logprobs":null')),
    event(choice('{"reasoning_content":"hm"}', more=',"token_ids":null')),
    event(choice('{"reasoning":"…","reasoning_content":"…"}')),
    event(choice('{"reasoning":"!"}')),
    event(choice('{"content":"Grüße"}')),
    event(choice('{"tool_calls":[{"id":"t1","type":"function","index":0,"function":{"name":"f","arguments":""}}]}')),
    event(choice('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"x\\":"}}]}')),
    event(choice('{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}')),
    event(choice('{"content":""}', '"tool_calls"', ',"stop_reason":null')),
    event(
        "",
        ',"usage":{"prompt_tokens":9,"total_tokens":14,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":8}}',
    ),
    DONE,
)
THOUGHT: list[Delta] = [
    BEGIN,
    ThinkingDelta("hm…!"),
    TextDelta("Grüße"),
    ToolCallBegin(0, "t1", "f"),
    ToolCallArguments(0, '{"x":'),
    ToolCallArguments(0, "1}"),
    Finish(FinishReason.TOOL_CALLS),
    Report(TokenReport(9, 5, 8)),
    End(),
]
INTERLEAVED = (
    event(
        choice(
            '{"role":"assistant","tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f",'
            '"arguments":""}},{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{"}}]}'
        )
    ),
    event(
        choice('{"tool_calls":[{"index":1,"function":{"arguments":"}"}},{"index":0,"function":{"arguments":"{}"}}]}')
    ),
    event(choice("{}", '"tool_calls"')),
    DONE,
)
STREAMS = [b"".join(events) for events in (VLLM_THINKS, INTERLEAVED, *(one.events for one in golden.SSE.values()))]


def test_thinking_then_text_then_tools() -> None:
    assert joined(stream(*VLLM_THINKS)) == THOUGHT


def test_parallel_calls_may_interleave() -> None:
    assert stream(*INTERLEAVED) == [
        BEGIN,
        ToolCallBegin(0, "a", "f"),
        ToolCallBegin(1, "b", "g"),
        ToolCallArguments(1, "{"),
        ToolCallArguments(1, "}"),
        ToolCallArguments(0, "{}"),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    ]


@pytest.mark.parametrize("name", ["vLLM chat", "OpenAI", "CRLF", "with pings", "llama.cpp"])
def test_every_engines_stream_is_read(name: str) -> None:
    recorded = golden.SSE[name]
    deltas = stream(*recorded.events)
    assert deltas[-1] == End()
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) in ('Hello "usage"', "Hi")
    assert Finish(FinishReason.STOP) in deltas
    (report,) = (delta.tokens for delta in deltas if isinstance(delta, Report))
    assert (report.prompt_tokens, report.completion_tokens) == recorded.usage


def test_ollamas_calls_at_index_0_stay_apart() -> None:
    calls = [
        f'{{"role":"assistant","content":"","tool_calls":[{{"id":"{n}","index":0,"type":"function","function":'
        f'{{"name":"f","arguments":"{{\\"x\\":{n}}}"}}}}]}}'
        for n in (1, 2)
    ]
    assert stream(*(event(choice(call)) for call in calls), event(choice("{}", '"stop"')), DONE) == [
        BEGIN,
        ToolCallBegin(0, "1", "f"),
        ToolCallArguments(0, '{"x":1}'),
        ToolCallBegin(1, "2", "f"),
        ToolCallArguments(1, '{"x":2}'),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    ]


@pytest.mark.parametrize("data", STREAMS)
def test_byte_by_byte_is_the_same_as_whole(data: bytes) -> None:
    whole = stream(data)
    assert stream(*(bytes([byte]) for byte in data)) == whole
    for place in range(0, len(data), 7):
        assert stream(data[:place], data[place:]) == whole


def test_refusals_empty_deltas_and_role_only_deltas() -> None:
    assert stream(
        ROLE,
        event(choice("{}")),
        event(choice("null")),
        event(choice('{"refusal":"I ca"}')),
        event(choice('{"refusal":"n\'t"}')),
        event(choice("{}", '"stop"')),
        DONE,
    ) == [BEGIN, RefusalDelta("I ca"), RefusalDelta("n't"), Finish(FinishReason.STOP), End()]


@pytest.mark.parametrize(
    ("said", "more", "finish"),
    [
        ("stop", "", Finish(FinishReason.STOP)),
        ("length", "", Finish(FinishReason.LENGTH)),
        ("content_filter", "", Finish(FinishReason.CONTENT_FILTER)),
        ("tool_calls", "", Finish(FinishReason.TOOL_CALLS)),
        ("function_call", "", Finish(FinishReason.TOOL_CALLS)),
        ("load", "", Finish(FinishReason.LOAD)),
        ("eos_token", "", Finish(FinishReason.STOP)),
        ("stop", ',"stop_reason":"###"', Finish(FinishReason.STOP_SEQUENCE, 0, "###")),
        ("stop", ',"stop_reason":128001', Finish(FinishReason.STOP)),
        ("length", ',"stop_reason":"x"', Finish(FinishReason.LENGTH)),
    ],
)
def test_every_reason_to_end_is_understood(said: str, more: str, finish: Finish) -> None:
    assert stream(event(choice("{}", f'"{said}"', more)), DONE) == [BEGIN, finish, End()]


def test_a_reason_said_twice_or_never_is_said_once() -> None:
    twice = event(choice("{}", '"stop"'))
    assert stream(twice, twice, DONE) == [BEGIN, Finish(FinishReason.STOP), End()]
    assert stream(ROLE, DONE) == [BEGIN, Finish(FinishReason.STOP), End()]
    assert stream(event(choice('{"content":"a"}', '""')), DONE)[-2:] == [Finish(FinishReason.STOP), End()]


def test_choices_keep_their_index() -> None:
    both = choice('{"content":"a"}', index=0) + "," + choice('{"content":"b"}', '"length"', index=1)
    assert stream(event(both), event(choice("{}", '"stop"')), DONE) == [
        BEGIN,
        TextDelta("a"),
        TextDelta("b", 1),
        Finish(FinishReason.LENGTH, 1),
        Finish(FinishReason.STOP),
        End(),
    ]


def test_logprobs_follow_their_text() -> None:
    logprobs = '{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}]}'
    deltas = stream(event(choice('{"content":"a"}', '"stop"', f',"logprobs":{logprobs}')), DONE)
    assert deltas == [
        BEGIN,
        TextDelta("a"),
        Logprobs(msgspec.Raw(logprobs.encode())),
        Finish(FinishReason.STOP),
        End(),
    ]


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (b'data: {"error":{"message":"out of memory","code":500}}\n\n', "out of memory"),
        (b'error: {"code":500,"message":"slot lost","type":"server_error"}\n\n', "slot lost"),
        (event(choice('{"content":""}', '"error"'), ',"error":{"message":"gone"}'), "gone"),
        (event(choice('{"content":""}', '"abort"')), "the engine broke its answer off"),
        (
            event(choice("{}", more=',"logprobs":{"content":["ü"]}')).replace("ü".encode(), b"\xff"),
            "the engine sent what cannot be read as an answer",
        ),
        (b"data: {\n\n" + DONE, "the engine sent what cannot be read as an answer"),
        (b'data: {"choices":5}\n\n', "the engine sent what cannot be read as an answer"),
        (b"<html>", "the engine sent what is no event stream"),
        (b"", ENDED_EARLY),
        (event(choice('{"content":"b"}'))[:-9], "the engine sent what cannot be read as an answer"),
    ],
)
def test_a_stream_that_breaks_keeps_what_was_complete(last: bytes, message: str) -> None:
    assert stream(event(choice('{"content":"a"}')), last) == [BEGIN, TextDelta("a"), Failure(message)]


def test_a_stream_of_nothing_is_a_failure() -> None:
    assert stream(event("", ',"usage":{"prompt_tokens":1}'), DONE)[-1] == Failure("the engine's answer holds no choice")
    assert stream(DONE) == [Failure(ENDED_EARLY)]


# Documents


def _document(message: str, finish: str = '"stop"', more: str = "") -> bytes:
    return (
        '{"id":"c-1","object":"chat.completion","created":1790000000,"model":"m","choices":[{"index":0,"message":'
        f'{message},"logprobs":null,"finish_reason":{finish}}}]{more}}}'
    ).encode()


def test_a_document_is_the_same_as_a_stream() -> None:
    call = '{"id":"t1","type":"function","function":{"name":"f","arguments":"{\\"x\\":1}"}}'
    message = f'{{"role":"assistant","content":"Grüße","reasoning":"hm…!","tool_calls":[{call}]}}'
    usage = ',"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":8}}'
    assert document(_document(message, '"tool_calls"', usage)) == [
        *THOUGHT[:4],
        ToolCallArguments(0, '{"x":1}'),
        *THOUGHT[6:],
    ]


def test_a_document_whose_calls_have_no_ids_gets_them() -> None:
    call = '{"type":"function","index":0,"function":{"name":"f","arguments":"{}"}}'
    deltas = document(_document(f'{{"content":null,"tool_calls":[{call},{call}]}}', "null"))
    assert [delta.id for delta in deltas if isinstance(delta, ToolCallBegin)] == ["call_01_0", "call_01_1"]
    assert deltas[-2:] == [Finish(FinishReason.TOOL_CALLS), End()]


def test_a_call_of_2023_is_a_call() -> None:
    deltas = document(_document('{"content":null,"function_call":{"name":"f","arguments":"{}"}}', '"function_call"'))
    assert ToolCallBegin(0, "call_01_0", "f") in deltas


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no such model","type":"x"}}', "no such model"),
        (b'{"object":"error","message":"too long"}', "too long"),
        (b'{"choices":[]}', "the engine's answer holds no choice"),
        (b"{}", "the engine's answer holds no choice"),
        (b"<html>", "the engine sent what cannot be read as an answer"),
        (_document('{"content":"a"}')[:-5], "the engine sent what cannot be read as an answer"),
        (b"", ENDED_EARLY),
    ],
)
def test_a_document_that_is_none_is_a_failure(body: bytes, message: str) -> None:
    assert document(body)[-1] == Failure(message)


# Encoders


def events(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(DONE)
    return [json.loads(one.removeprefix(b"data: ")) for one in data.split(b"\n\n")[:-2]]


def test_a_stream_as_a_caller_sees_it() -> None:
    first, *rest = events(encode(ChatStreamEncoder(CONTEXT), [*THOUGHT[:3], Finish(FinishReason.STOP), End()]))
    assert first == {
        "id": "chatcmpl-0-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        ],
        "usage": None,
    }
    assert [chunk["choices"][0]["delta"] for chunk in rest] == [
        {"reasoning_content": "hm…!"},
        {"content": "Grüße"},
        {},
    ]
    assert rest[-1]["choices"][0]["finish_reason"] == "stop"


def test_usage_goes_to_those_who_asked_last_and_without_choices() -> None:
    deltas = [
        BEGIN,
        Report(TokenReport(1)),
        TextDelta("a"),
        Report(TokenReport(3, 4)),
        Finish(FinishReason.STOP),
        End(),
    ]
    last = events(encode(ChatStreamEncoder(CONTEXT), deltas))[-1]
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    unasked = AnswerContext(REQUEST, "m", 0.0, include_usage=False)
    assert b"usage" not in encode(ChatStreamEncoder(unasked), deltas)
    uncounted = [delta for delta in deltas if not isinstance(delta, Report)]
    assert events(encode(ChatStreamEncoder(CONTEXT), uncounted))[-1]["usage"] is None


def test_each_choice_begins_with_its_role_even_without_a_begin() -> None:
    chunks = events(encode(ChatStreamEncoder(CONTEXT), [TextDelta("b", 1), TextDelta("a"), TextDelta("c", 1), End()]))
    assert [(one["choices"][0]["index"], "role" in one["choices"][0]["delta"]) for one in chunks] == [
        (1, True), (1, False), (0, True), (0, False), (1, False),
    ]  # fmt: skip


def test_what_openai_has_no_word_for_is_left_out() -> None:
    silent: list[Delta] = [
        ThinkingSignature("s"),
        RedactedThinkingDelta("r"),
        Context(msgspec.Raw(b"[1]")),
        Failure("x"),
        End(),
    ]
    for encoder in (ChatStreamEncoder(CONTEXT), ChatDocumentEncoder(CONTEXT)):
        assert encoder.send(silent) == b""


def test_only_a_stream_shows_signs_of_life() -> None:
    assert ChatStreamEncoder(CONTEXT).ping() == b": ping\n\n"
    assert ChatDocumentEncoder(CONTEXT).ping() == b""
    assert stream(ChatStreamEncoder(CONTEXT).ping(), ROLE, DONE)[-1] == End()


@pytest.mark.parametrize("reason", FinishReason)
def test_every_reason_has_a_word_that_openais_sdk_knows(reason: FinishReason) -> None:
    deltas = [TextDelta("a"), Finish(reason, 0, "x" if reason is FinishReason.STOP_SEQUENCE else None), End()]
    ChatCompletion.model_validate_json(encode(ChatDocumentEncoder(CONTEXT), deltas), strict=True)
    for one in events(encode(ChatStreamEncoder(CONTEXT), deltas)):
        ChatCompletionChunk.model_validate(one, strict=True)


def test_a_document_as_a_caller_sees_it() -> None:
    answer = json.loads(encode(ChatDocumentEncoder(CONTEXT), THOUGHT))
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    assert answer == {
        "id": "chatcmpl-0-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Grüße",
                    "refusal": None,
                    "reasoning_content": "hm…!",
                    "tool_calls": [call],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 5,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 8},
        },
    }


def test_content_is_null_only_beside_something_else() -> None:
    def content(*deltas: Delta) -> object:
        return json.loads(encode(ChatDocumentEncoder(CONTEXT), deltas))["choices"][0]["message"]["content"]

    assert content(End()) == ""
    assert content(ToolCallBegin(0, "a", "f")) is None
    assert content(RefusalDelta("no")) is None
    assert content(ThinkingDelta("hm")) == ""


# Round trips


@fuzz(40)
@given(answers(is_chat=True), st.lists(st.integers(0, 5), max_size=6))
def test_what_is_streamed_comes_back(deltas: list[Delta], batches: list[int]) -> None:
    data = encode(ChatStreamEncoder(CONTEXT), deltas, batches)
    for one in events(data):
        ChatCompletionChunk.model_validate(one)
    assert decode(ChatStreamDecoder(REQUEST), [data]) == [Begin("chatcmpl-0-1", "m", 1_790_000_000), *deltas]


@fuzz(40)
@given(answers(is_chat=True))
def test_a_document_comes_back_as_the_same_document(deltas: list[Delta]) -> None:
    data = encode(ChatDocumentEncoder(CONTEXT), deltas)
    ChatCompletion.model_validate_json(data)
    again = decode(ChatDocumentDecoder(REQUEST), [data])
    assert encode(ChatDocumentEncoder(CONTEXT), again) == data
    assert [delta for delta in again if isinstance(delta, Finish | Report | End)] == [
        delta for delta in deltas if isinstance(delta, Finish | Report | End)
    ]


# Fuzzing

SNIPPETS = [b"\n\n", b"\n", b"data: ", b"{", b"}", b'"', b"null", b"\xff", b"\\ud800", b"[DONE]", b'"id":"t1",', b":0"]


def fuzz_stream(data: bytes) -> None:
    """Invariant: one end, and it is the last; cuts make no difference; both encoders can say it."""
    whole = decode(ChatStreamDecoder(REQUEST), [data])
    ends_well_or_fails(whole)
    half = len(data) // 2
    assert decode(ChatStreamDecoder(REQUEST), [data[:half], data[half:]]) == whole
    encode(ChatStreamEncoder(CONTEXT), whole)
    encode(ChatDocumentEncoder(CONTEXT), whole)


def fuzz_document(data: bytes) -> None:
    """Invariant: as of a stream."""
    whole = decode(ChatDocumentDecoder(REQUEST), [data])
    ends_well_or_fails(whole)
    encode(ChatDocumentEncoder(CONTEXT), whole)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {
    "openai chat stream": fuzz_stream,
    "openai chat document": fuzz_document,
}
DOCUMENTS = [
    _document(
        '{"role":"assistant","content":"hi","reasoning_content":"x","tool_calls":[{"id":"a","type":"function",'
        '"function":{"name":"f","arguments":"{}"}}]}',
        more=',"usage":{"prompt_tokens":1}',
    )
]


@fuzz(75)
@given(mutated(STREAMS, SNIPPETS), st.lists(st.integers(0, 2000), max_size=4))
def test_no_stream_breaks_the_decoder(data: bytes, places: list[int]) -> None:
    fuzz_stream(data)
    assert stream(*split_at(data, places)) == stream(data)


@fuzz(50)
@given(mutated(DOCUMENTS, SNIPPETS))
def test_no_document_breaks_the_decoder(data: bytes) -> None:
    fuzz_document(data)
