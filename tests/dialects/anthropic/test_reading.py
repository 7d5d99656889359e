"""What engines answer in Anthropic's dialect, as deltas. Sources: tests/dialects/anthropic/golden.py."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
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
from mrproxy.dialects.anthropic.reading import ChatDocumentDecoder, ChatStreamDecoder
from mrproxy.dialects.codec import AnswerDecoder
from mrproxy.dialects.sse import MAX_HELD_BYTES
from tests.dialects.anthropic import golden
from tests.dialects.anthropic.golden import Golden, delta, event, start, stop, text
from tests.fuzzing import fuzz, mutated, split_at

every_stream = pytest.mark.parametrize("stream", golden.STREAMS.values(), ids=golden.STREAMS.keys())


def run(decoder: AnswerDecoder, pieces: list[bytes]) -> list[Delta]:
    deltas = [delta for piece in pieces for delta in decoder.receive_data(piece)]
    return [*deltas, *decoder.finish()]


def stream_of(*events: bytes) -> list[Delta]:
    return run(ChatStreamDecoder("1-2"), list(events))


EXPECTED: dict[str, list[Delta]] = {
    "Anthropic": [
        Begin("msg_1", "claude"),
        Report(TokenReport(129, None, 100, 4)),
        TextDelta("Hel"),
        TextDelta('lo "usage"'),
        Finish(FinishReason.STOP),
        Report(TokenReport(129, 15, 100, 4)),
        End(),
    ],
    "vLLM": [
        Begin("chatcmpl-1", "m"),
        ThinkingDelta("Hmm"),
        ThinkingSignature("5e5"),
        ToolCallBegin(0, "call_1", "f"),
        ToolCallArguments(0, '{"a"'),
        ToolCallArguments(0, ": 1}"),
        Finish(FinishReason.TOOL_CALLS),
        Report(TokenReport(11, 3)),
        End(),
    ],
    "Ollama": [
        Begin("msg_2", "m"),
        TextDelta("Hi"),
        Finish(FinishReason.LENGTH),
        Report(TokenReport(None, 1)),
        End(),
    ],
    "cumulative": [
        Begin("msg_1", "claude"),
        Report(TokenReport(129, None, 100, 4)),
        TextDelta("Hel"),
        TextDelta('lo "usage"'),
        Report(TokenReport(134, 7, 100, 4)),
        TextDelta("é…"),
        Finish(FinishReason.STOP_SEQUENCE, stop_sequence="END"),
        Report(TokenReport(135, 9, 100, 4)),
        End(),
    ],
}
EXPECTED["CRLF"] = EXPECTED["Anthropic"]


@pytest.mark.parametrize("name", golden.STREAMS)
def test_each_engines_stream_is_the_deltas_it_means(name: str) -> None:
    assert stream_of(golden.STREAMS[name].data) == EXPECTED[name]


@every_stream
def test_byte_by_byte_is_the_same_as_whole(stream: Golden) -> None:
    whole = stream_of(stream.data)
    assert run(ChatStreamDecoder("1-2"), [bytes([byte]) for byte in stream.data]) == whole
    assert stream_of(*stream.events) == whole


def test_what_is_complete_is_said_at_once() -> None:
    decoder = ChatStreamDecoder("1")
    assert decoder.receive_data(golden.ANTHROPIC.events[0]) == EXPECTED["Anthropic"][:2]
    assert decoder.receive_data(golden.ANTHROPIC.events[1]) == []
    assert decoder.receive_data(golden.text(0, b"a")[:-1]) == []
    assert decoder.receive_data(b"\n") == [TextDelta("a")]


def test_a_split_character_survives() -> None:
    data = text(0, "é".encode())
    place = data.index(b"\xc3") + 1
    assert stream_of(data[:place], data[place:])[:2] == [Begin(), TextDelta("é")]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("refusal", FinishReason.REFUSAL),
        ("pause_turn", FinishReason.PAUSE),
        ("something_new", FinishReason.STOP),
    ],
)
def test_stop_reasons(said: str, reason: FinishReason) -> None:
    end = event("message_delta", b'{"type":"message_delta","delta":{"stop_reason":"%b"}}' % said.encode())
    assert stream_of(end, golden.STOP) == [Begin(), Finish(reason), End()]


def test_a_refusals_explanation_is_what_was_refused() -> None:
    end = event(
        "message_delta",
        b'{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal",'
        b'"category":"bio","explanation":"No."}},"usage":{"output_tokens":1}}',
    )
    assert stream_of(end, golden.STOP) == [
        Begin(),
        RefusalDelta("No."),
        Finish(FinishReason.REFUSAL),
        Report(TokenReport(None, 1)),
        End(),
    ]


def test_an_answer_that_gives_no_reason_stopped_or_called() -> None:
    assert stream_of(text(0, b"a"), golden.STOP)[-2:] == [Finish(FinishReason.STOP), End()]
    call = start(0, b'"type":"tool_use","id":"c","name":"f","input":{}')
    assert stream_of(call, golden.STOP)[-3:] == [ToolCallArguments(0, "{}"), Finish(FinishReason.TOOL_CALLS), End()]


def test_calls_whose_arguments_come_at_once_or_not_at_all() -> None:
    deltas = stream_of(
        start(0, b'"type":"tool_use","id":"","name":"f","input":{"a":1}'),
        stop(0),
        start(1, b'"type":"tool_use","name":"g","input":{}'),
        delta(1, b'"type":"input_json_delta","partial_json":""'),
        stop(1),
    )
    assert deltas[1:-1] == [
        ToolCallBegin(0, "call_12_0", "f"),
        ToolCallArguments(0, '{"a":1}'),
        ToolCallBegin(1, "call_12_1", "g"),
        ToolCallArguments(1, "{}"),
    ]


def test_blocks_that_interleave_are_told_by_their_index() -> None:
    deltas = stream_of(
        start(3, b'"type":"tool_use","id":"a","name":"f","input":{}'),
        start(7, b'"type":"tool_use","id":"b","name":"g","input":{}'),
        delta(7, b'"type":"input_json_delta","partial_json":"{}"'),
        delta(3, b'"type":"input_json_delta","partial_json":"{}"'),
        stop(3),
        stop(7),
    )
    assert deltas[1:-1] == [
        ToolCallBegin(0, "a", "f"),
        ToolCallBegin(1, "b", "g"),
        ToolCallArguments(1, "{}"),
        ToolCallArguments(0, "{}"),
    ]


def test_blocks_may_begin_with_something() -> None:
    deltas = stream_of(
        start(0, b'"type":"thinking","thinking":"Hm","signature":"s"'),
        start(1, b'"type":"redacted_thinking","data":"d"'),
        start(2, b'"type":"text","text":"a"'),
    )
    assert deltas[1:-1] == [
        ThinkingDelta("Hm"),
        ThinkingSignature("s"),
        RedactedThinkingDelta("d"),
        TextDelta("a"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        golden.PING,
        event("novelty", b'{"type":"novelty","delta":7}'),
        start(0, b'"type":"server_tool_use","id":"s","name":"web_search","input":{}'),
        delta(0, b'"type":"citations_delta","citation":{"url":"x"}'),
        delta(0, b'"type":"input_json_delta","partial_json":"{}"'),
        text(0, b""),
        delta(0, b'"type":"text_delta","text":null'),
        event("content_block_delta", b'{"type":"content_block_delta","index":0,"delta":null}'),
        event("content_block_start", b'{"type":"content_block_start","index":0}'),
        b": comment\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_what_says_nothing_is_passed_over(data: bytes) -> None:
    deltas = stream_of(golden.OLLAMA.events[0], data, *golden.OLLAMA.events[1:])
    assert deltas == EXPECTED["Ollama"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (event("error", b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'), "Overloaded"),
        (event("error", b'{"type":"error","error":{"type":"overloaded_error"}}'), "overloaded_error"),
        (event("error", b'{"error":"boom"}'), "boom"),
        (event("error", b'{"type":"error","error":{}}'), "the engine failed"),
        (event("content_block_delta", b'{"type":"content_block_delta","index":0,"delta":{"type":"te'), "cannot be"),
        (event("content_block_delta", b'{"type":"content_block_delta","index":"x","delta":{}}'), "cannot be"),
        (b"data: <html>\n\n", "cannot be read"),
        (b'data: {"type":"message_stop\xff"}\n\n', "cannot be read"),
        (b'data: {"type":"ping"' + b"[" * 9000 + b"\n\n", "cannot be read"),
    ],
)
def test_what_is_broken_ends_the_answer(data: bytes, words: str) -> None:
    deltas = stream_of(golden.OLLAMA.events[0], text(0, b"a"), data, text(0, b"b"), golden.STOP)
    assert deltas[:2] == [Begin("msg_2", "m"), TextDelta("a")]
    (failure,) = deltas[2:]
    assert isinstance(failure, Failure)
    assert words in failure.message


@every_stream
def test_an_answer_cut_off_ends_with_a_failure(stream: Golden) -> None:
    place = stream.data.index(b"message_stop") - 7
    for cut in range(0, place, 7):
        deltas = stream_of(stream.data[:cut])
        assert deltas[-1] == Failure("the engine's answer ended early")
        assert deltas[:-1] == stream_of(stream.data)[: len(deltas) - 1]


def test_the_last_event_needs_no_blank_line() -> None:
    assert stream_of(golden.OLLAMA.data[:-2]) == EXPECTED["Ollama"]


def test_nothing_is_read_after_the_end() -> None:
    assert stream_of(*golden.OLLAMA.events, *golden.ANTHROPIC.events, b"garbage") == EXPECTED["Ollama"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>Bad Gateway</html>\n", "the engine sent what is no event stream"),
        (b"<html>Bad Gateway</html>", "the engine sent what is no event stream"),
        (b'{"type":"error","error":{"type":"api_error","message":"boom"}}', "boom"),
        (b'{"type":"error","error":{"type":"api_error","message":"boom"}}\n', "boom"),
        (b'{"type":"message","content":[]}\n', "the engine sent what is no event stream"),
        (b"{\n", "the engine sent what is no event stream"),
    ],
)
def test_what_is_no_stream_ends_it_in_its_own_words_if_it_has_any(data: bytes, words: str) -> None:
    assert stream_of(data) == [Failure(words)]
    assert stream_of(*golden.OLLAMA.events[:1], data)[-1] == Failure(words)


def test_an_event_without_end_is_not_kept() -> None:
    piece = b"data: " + b"x" * (MAX_HELD_BYTES // 2)
    decoder = ChatStreamDecoder("1")
    assert decoder.receive_data(piece) == []
    assert decoder.receive_data(piece) == [Failure("the engine's answer is too long to be read")]
    assert decoder.receive_data(piece) == decoder.finish() == []


# Documents

DOCUMENT = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "é", "citations": None},
        {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": [1]}},
        {"type": "tool_use", "id": "", "name": "g", "input": None},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 3},
}


def document_of(*pieces: bytes) -> list[Delta]:
    return run(ChatDocumentDecoder("1-2"), list(pieces))


def test_a_message_is_the_same_deltas_at_once() -> None:
    data = json.dumps(DOCUMENT, ensure_ascii=False).encode()
    assert document_of(*[bytes([byte]) for byte in data]) == [
        Begin("msg_1", "claude"),
        ThinkingDelta("Hm"),
        ThinkingSignature("s"),
        RedactedThinkingDelta("d"),
        TextDelta("é"),
        ToolCallBegin(0, "c1", "f"),
        ToolCallArguments(0, '{"a": [1]}'),
        ToolCallBegin(1, "call_12_1", "g"),
        ToolCallArguments(1, "{}"),
        Finish(FinishReason.TOOL_CALLS),
        Report(TokenReport(7, 3, 2)),
        End(),
    ]


def test_a_message_of_little_is_still_one() -> None:
    assert document_of(b'{"content":[]}') == [Begin(), Finish(FinishReason.STOP), End()]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read"),
        (b"<html>", "cannot be read"),
        (json.dumps(DOCUMENT).encode()[:-9], "cannot be read"),
        (b'{"content":"x"}', "cannot be read"),
        (b'{"content":[{"type":"text","text":"\xff"}]}', "cannot be read"),
        (b'{"type":"error","error":{"type":"api_error","message":"boom"}}', "boom"),
        (b"{}", "is no message"),
        (b" " * (MAX_HELD_BYTES + 1), "too long"),
    ],
)
def test_what_is_no_message_is_a_failure(data: bytes, words: str) -> None:
    (failure,) = document_of(data)
    assert isinstance(failure, Failure)
    assert words in failure.message


# Anything


def feed_stream(data: bytes) -> None:
    """Invariant: no exception, one end, and cuts change nothing."""
    whole = stream_of(data)
    assert [type(each) in (End, Failure) for each in whole] == [False] * (len(whole) - 1) + [True]
    place = len(data) // 3
    assert stream_of(data[:place], data[place : 2 * place], data[2 * place :]) == whole


def feed_document(data: bytes) -> None:
    """Invariant: no exception, one end."""
    whole = document_of(data)
    assert [type(each) in (End, Failure) for each in whole] == [False] * (len(whole) - 1) + [True]


_SNIPPETS = [
    b"\n\n",
    b"\r\n",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"\xff",
    b"data: [DONE]",
    b"event: error",
    b"[" * 3000,
    b",",
]


@fuzz(100)
@given(mutated([stream.data for stream in golden.STREAMS.values()], _SNIPPETS) | st.binary(max_size=60))
def test_any_bytes_are_deltas_with_an_end(data: bytes) -> None:
    feed_stream(data)


@fuzz(50)
@given(mutated([json.dumps(DOCUMENT).encode()], _SNIPPETS) | st.binary(max_size=60))
def test_any_document_is_deltas_with_an_end(data: bytes) -> None:
    feed_document(data)


@fuzz(50)
@given(st.sampled_from(list(golden.STREAMS)), st.lists(st.integers(0, 5000), max_size=12))
def test_however_a_stream_arrives_it_says_the_same(name: str, places: list[int]) -> None:
    assert stream_of(*split_at(golden.STREAMS[name].data, places)) == EXPECTED[name]


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {
    "anthropic-stream": feed_stream,
    "anthropic-document": feed_document,
}
