"""Answers of Ollama servers, read. The lines and their sources: `golden.py`."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.deltas import (
    Begin,
    Context,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    Logprobs,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.ollama import lines
from mrproxy.dialects.ollama.lines import Answer, DocumentDecoder, StreamDecoder
from tests.dialects.ollama import golden
from tests.fuzzing import fuzz, mutated, split_at

EARLY = Failure("the engine's answer ended early")
FOREIGN = Failure("the engine's answer is not one of Ollama's")


def streamed(*pieces: bytes, is_completion: bool = False) -> list[Delta]:
    decoder = StreamDecoder(Answer("1234-abcd", is_completion))
    deltas = [delta for piece in pieces for delta in decoder.receive_data(piece)]
    return deltas + decoder.finish()


def document(*pieces: bytes, is_completion: bool = False) -> list[Delta]:
    decoder = DocumentDecoder(Answer("1234-abcd", is_completion))
    assert [delta for piece in pieces for delta in decoder.receive_data(piece)] == []
    return decoder.finish()


def seconds(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp())


def test_a_stream_is_text_then_why_and_what_was_counted() -> None:
    assert streamed(golden.CHAT_STREAM) == [
        Begin(model="llama3.2", created=seconds(2023, 8, 4, 15, 52, 19)),
        TextDelta("The"),
        TextDelta(" ský 🌍"),
        Finish(FinishReason.STOP),
        Report(TokenReport(26, 282, load_ns=1334875, prompt_ns=342546000, completion_ns=4535599000,
                           total_ns=4883583458)),
        End(),
    ]  # fmt: skip


def test_a_last_line_needs_neither_message_nor_reason() -> None:
    deltas = streamed(golden.CHAT_STREAM_WITHOUT_LAST_MESSAGE)
    assert deltas[2] == Finish(FinishReason.STOP)
    assert deltas[-1] == End()


def test_a_document_is_the_same_at_once() -> None:
    assert document(golden.CHAT_DOCUMENT_WITH_CALL) == [
        Begin(model="llama3.2", created=seconds(2024, 7, 22, 20, 33, 28)),
        ToolCallBegin(0, "call_1234abcd_0", "get_current_weather"),
        ToolCallArguments(0, '{"format":"celsius","location":"Paris, FR"}'),
        Finish(FinishReason.TOOL_CALLS),
        Report(TokenReport(122, 33, load_ns=3753500, prompt_ns=328493000, completion_ns=552222000, total_ns=885095291)),
        End(),
    ]


def test_thinking_then_text_then_calls_keep_their_order_and_their_ids() -> None:
    assert streamed(golden.CHAT_STREAM_WITH_CALLS)[1:] == [
        ThinkingDelta("Both at once."),
        TextDelta("Let me see."),
        ToolCallBegin(0, "call_4jq2zgbe", "weather"),
        ToolCallArguments(0, '{"city":"Bern"}'),
        ToolCallBegin(1, "call_x8lfy01m", "weather"),
        ToolCallArguments(1, '{"city":"Chur"}'),
        Finish(FinishReason.TOOL_CALLS),
        Report(TokenReport(9, 30)),
        End(),
    ]


def test_calls_that_are_all_index_0_are_still_several() -> None:
    assert streamed(golden.CHAT_STREAM_WITH_INDEX_0)[1:] == [
        ToolCallBegin(0, "call_1234abcd_0", "a"),
        ToolCallArguments(0, "{}"),
        ToolCallBegin(1, "call_1234abcd_1", "b"),
        ToolCallArguments(1, '{"x":[1, 2]}'),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    ]


def test_logprobs_follow_their_text_in_the_shape_of_the_request() -> None:
    chat = streamed(golden.CHAT_STREAM_WITH_LOGPROBS)
    assert chat[2] == Logprobs(
        msgspec.Raw(
            b'{"content":[{"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":[{"token":"Hi","logprob":-0.5,'
            b'"bytes":[72,105]},{"token":"Yo","logprob":-1.25,"bytes":[89,111]}]}]}'
        )
    )
    assert chat[3] == Finish(FinishReason.LENGTH)
    two = b'{"response":"\xc3\xa4b","done":false}\n{"response":"c","done":true,"logprobs":[{"token":"c","logprob":-1}]}'
    assert streamed(two, is_completion=True)[3] == Logprobs(
        msgspec.Raw(b'{"tokens":["c"],"token_logprobs":[-1.0],"top_logprobs":null,"text_offset":[2]}')
    )


def test_a_completion_has_a_context() -> None:
    assert streamed(golden.GENERATE_STREAM, is_completion=True)[1:] == [
        ThinkingDelta("Hm."),
        TextDelta("The"),
        Context(msgspec.Raw(b"[1, 2, 3]")),
        Finish(FinishReason.STOP),
        Report(TokenReport(26, 259, load_ns=6338219291, prompt_ns=130079000, completion_ns=4232710000,
                           total_ns=10706818083)),
        End(),
    ]  # fmt: skip
    assert document(golden.GENERATE_DOCUMENT, is_completion=True)[1] == TextDelta("The sky is blue.")


@pytest.mark.parametrize("read", [streamed, document])
def test_what_is_loaded_or_unloaded_is_one_object_even_in_a_stream(read: Callable[[bytes], list[Delta]]) -> None:
    assert read(golden.LOADED)[1:] == [Finish(FinishReason.LOAD), End()]
    assert read(golden.UNLOADED)[1:] == [Finish(FinishReason.UNLOAD), End()]


def test_an_error_in_a_stream_fails_it() -> None:
    assert streamed(golden.FAILED_STREAM, is_completion=True)[1:] == [
        TextDelta(" Yes"),
        Failure("an error was encountered while running the model"),
    ]
    assert document(b'{"error":{"message":"no"}}') == [Failure('{"message":"no"}')]


@pytest.mark.parametrize("data", golden.STREAMS)
@pytest.mark.parametrize("is_completion", [False, True])
def test_byte_by_byte_is_the_same_as_whole(data: bytes, is_completion: bool) -> None:
    pieces = [data[place : place + 1] for place in range(len(data))]
    assert streamed(*pieces, is_completion=is_completion) == streamed(data, is_completion=is_completion)


@fuzz(30)
@given(st.sampled_from(golden.STREAMS), st.lists(st.integers(0, 2000), max_size=6))
def test_where_reads_are_cut_changes_nothing(data: bytes, places: list[int]) -> None:
    assert streamed(*split_at(data, places)) == streamed(data)


def test_empty_lines_and_carriage_returns_are_nothing() -> None:
    assert streamed(b"\n \r\n" + golden.CHAT_STREAM.replace(b"\n", b"\r\n\n")) == streamed(golden.CHAT_STREAM)


def test_nothing_is_read_after_the_end() -> None:
    assert streamed(golden.CHAT_STREAM, golden.CHAT_STREAM) == streamed(golden.CHAT_STREAM)
    assert streamed(golden.CHAT_STREAM + b"garbage\n") == streamed(golden.CHAT_STREAM)


@pytest.mark.parametrize("size", range(1, len(golden.CHAT_STREAM) - 1, 7))
def test_what_is_complete_is_told_before_an_early_end(size: int) -> None:
    deltas = streamed(golden.CHAT_STREAM[:size])
    whole = streamed(golden.CHAT_STREAM)
    assert deltas[-1] == EARLY
    assert deltas[:-1] == whole[: len(deltas) - 1]


@pytest.mark.parametrize("read", [streamed, document])
def test_an_answer_of_nothing_ended_early(read: Callable[..., list[Delta]]) -> None:
    assert read() == read(b"") == read(b"\n") == [EARLY]
    assert read(golden.LOADED[:-1]) == [EARLY]


@pytest.mark.parametrize(
    "other",
    [
        b"<html><body>502 Bad Gateway</body></html>\n",
        b'data: {"choices":[]}\n',
        b'{"choices":[]}\n',
        b"[]\n",
        b'{"message":{"content":5},"done":false}\n',
        b'{"message":{"content":"x","tool_calls":[{}]},"done":false}\n',
        b'{"message":{"content":"\xff"},"done":false}\n',
        b'{"message":{"content":"\\ud800"},"done":false}\n',
        b'{"message":' * 5000 + b"\n",
    ],
)
def test_what_is_not_ollamas_fails(other: bytes) -> None:
    assert streamed(other) == [FOREIGN]
    assert document(other)[-1] in (FOREIGN, EARLY)


def test_a_picture_cannot_be_told() -> None:
    told = Failure("the engine answered with an image, which cannot be told")
    assert streamed(b'{"response":"","image":"iVBORw0KGgo=","done":true}\n', is_completion=True) == [told]
    assert streamed(b'{"message":{"content":"","images":["iVBORw0KGgo="]},"done":true}\n') == [told]


def test_arguments_in_a_string_and_no_arguments_are_understood() -> None:
    calls = b'{"function":{"name":"a","arguments":"{\\"x\\":1}"}},{"function":{"name":"b"}}'
    deltas = streamed(b'{"message":{"tool_calls":[%b]},"done":true}\n' % calls)
    assert [delta.fragment for delta in deltas if isinstance(delta, ToolCallArguments)] == ['{"x":1}', "{}"]


def test_a_time_that_is_none_is_zero() -> None:
    for wrong in (b'"yesterday"', b"null", b'"99999-01-01"', b'""', b'"0001-01-01T00:00:00Z"'):
        assert streamed(b'{"created_at":%b,"done":true}' % wrong)[0] == Begin()
    assert streamed(b'{"created_at":"1970-01-01T00:00:07","done":true}')[0] == Begin(created=7)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_HELD_BYTES", 100)
    too_long = [Failure("the engine's answer is too long")]
    assert streamed(b"x" * 60, b"x" * 60, b"x" * 60) == streamed(b"x" * 101) == too_long
    decoder = DocumentDecoder(Answer("r", False))
    assert decoder.receive_data(b"x" * 60) == []
    assert decoder.receive_data(b"x" * 60) == too_long
    assert decoder.receive_data(b"x") == decoder.finish() == []


# The fuzzer. Invariant: nothing is raised; there is one End or one Failure and it is the last; calls are dense.

SNIPPETS = [b"\n", b"null", b"{}", b"[", b'"', b"\xff", b'"done":true', b'{"error":"x"}\n', b"1e999", b"\\ud800"]


def check(deltas: list[Delta]) -> None:
    assert isinstance(deltas[-1], End | Failure)
    assert not any(isinstance(delta, End | Failure) for delta in deltas[:-1])
    assert [place for place, delta in enumerate(deltas) if isinstance(delta, Begin)] in ([], [0])
    calls = [delta.call for delta in deltas if isinstance(delta, ToolCallBegin)]
    assert calls == list(range(len(calls)))


def fuzz_stream(data: bytes) -> None:
    middle = len(data) // 2
    for is_completion in (False, True):
        deltas = streamed(data[:middle], data[middle:], is_completion=is_completion)
        check(deltas)


def fuzz_document(data: bytes) -> None:
    for is_completion in (False, True):
        check(document(data, is_completion=is_completion))


@fuzz(100)
@given(mutated(golden.STREAMS, SNIPPETS) | st.binary(max_size=40))
def test_whatever_a_stream_holds_it_ends_once(data: bytes) -> None:
    fuzz_stream(data)


@fuzz(50)
@given(mutated([golden.CHAT_DOCUMENT_WITH_CALL, golden.GENERATE_DOCUMENT, golden.LOADED], SNIPPETS))
def test_whatever_a_document_holds_it_ends_once(data: bytes) -> None:
    fuzz_document(data)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {
    "ollama answer stream": fuzz_stream,
    "ollama answer document": fuzz_document,
}
