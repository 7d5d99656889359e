"""Completions of text. Shapes, all 2026: OpenAI API reference, "Create completion"; vLLM completion/protocol.py;
llama.cpp tools/server/README.md and server-task.cpp; ollama openai/openai.go."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from mrproxy.canonical.conversation import FormatKind, Image, ResponseFormat, Sampling, TextRequest, ThinkingWish
from mrproxy.canonical.deltas import (
    Begin,
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
    ToolCallBegin,
)
from mrproxy.dialects.codec import AnswerContext, Target
from mrproxy.dialects.openai.completions import (
    TextDocumentDecoder,
    TextDocumentEncoder,
    TextStreamDecoder,
    TextStreamEncoder,
    decode_text,
    encode_text,
)
from mrproxy.dialects.openai.streams import ENDED_EARLY
from mrproxy.errors import ClientError
from tests.dialects import golden
from tests.dialects.openai import wishes
from tests.dialects.openai.answering import CONTEXT, REQUEST, answers, decode, encode, ends_well_or_fails
from tests.fuzzing import fuzz, mutated, split_at

KINDS = ("openai", "vllm", "llamacpp")
DONE = b"data: [DONE]\n\n"


def asked(**more: Any) -> TextRequest:
    return decode_text(json.dumps({"model": "m", "prompt": "Once"} | more).encode())


def told(kind: str, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    given = {"model": "m", "prompts": ("Once",), "raw": True} | more
    encoded = encode_text(TextRequest(**given), Target(kind, "theirs"))
    return json.loads(encoded.body), encoded.warnings


# Requests


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ("a",)),
        ("", ("",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
        ([[]], ((),)),
    ],
)
def test_prompts_are_text_or_tokens_one_or_many(prompt: object, prompts: tuple[object, ...]) -> None:
    assert asked(prompt=prompt) == TextRequest(model="m", prompts=prompts, raw=True, include_usage=False)


def test_logprobs_are_a_number_here() -> None:
    assert asked(logprobs=0).sampling == Sampling(logprobs=True, top_logprobs=0)
    assert told("vllm", sampling=Sampling(logprobs=True))[0]["logprobs"] == 0
    assert told("vllm", sampling=Sampling(logprobs=True, top_logprobs=3))[0]["logprobs"] == 3
    assert "logprobs" not in told("vllm", sampling=Sampling(logprobs=False, top_logprobs=3))[0]


@pytest.mark.parametrize("kind", KINDS)
@fuzz(30)
@given(data=st.data())
def test_what_the_dialect_can_say_comes_back_unchanged(kind: str, data: st.DataObject) -> None:
    sampling = data.draw(wishes.sampling(kind, is_chat=False))
    if data.draw(st.booleans()):
        sampling = msgspec.structs.replace(sampling, logprobs=True, top_logprobs=data.draw(st.integers(0, 5)))
    tokens = st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)
    streams = data.draw(st.booleans())
    request = TextRequest(
        model="m",
        prompts=tuple(
            data.draw(st.lists(wishes.TEXT, min_size=1, max_size=2) | st.lists(tokens, min_size=1, max_size=2))
        ),
        raw=True,
        suffix=data.draw(st.none() | wishes.TEXT) if kind == "openai" else None,
        echo=data.draw(st.sampled_from([None, False] if kind == "llamacpp" else [None, False, True])),
        best_of=data.draw(st.none() | st.integers(1, 3)) if kind == "openai" else None,
        sampling=sampling,
        response_format=data.draw(wishes.FORMAT.filter(_is_format)) if kind == "vllm" else None,
        streams=streams,
        include_usage=streams,
        user=data.draw(st.none() | wishes.NAME),
        extras=data.draw(wishes.EXTRAS),
    )
    encoded = encode_text(request, Target(kind, "m"))
    assert encoded.warnings == ()
    assert decode_text(encoded.body) == request


def _is_format(wanted: ResponseFormat | None) -> bool:
    return wanted is None or wanted.kind is not FormatKind.TEXT


def test_each_engine_is_told_a_format_in_its_way() -> None:
    schema = ResponseFormat(FormatKind.JSON_SCHEMA, msgspec.Raw(b'{"type":"array"}'))
    assert told("vllm", response_format=schema)[0]["response_format"]["type"] == "json_schema"
    assert told("llamacpp", response_format=schema)[0]["json_schema"] == {"type": "array"}
    plain = ResponseFormat(FormatKind.JSON_OBJECT)
    assert told("llamacpp", response_format=plain)[0]["json_schema"] == {"type": "object"}
    assert told("openai", response_format=ResponseFormat(FormatKind.TEXT))[0].keys() == {"model", "prompt"}


@pytest.mark.parametrize(
    ("kind", "more", "param"),
    [
        ("vllm", {"raw": False}, "raw"),
        ("vllm", {"system": "x"}, "system"),
        ("vllm", {"template": "x"}, "template"),
        ("vllm", {"context": (1,)}, "context"),
        ("vllm", {"images": (Image("image/png", "AAAA"),)}, "images"),
        ("vllm", {"suffix": "x"}, "suffix"),
        ("llamacpp", {"echo": True}, "echo"),
        ("openai", {"response_format": ResponseFormat(FormatKind.JSON_OBJECT)}, "response_format"),
    ],
)
def test_what_an_engine_cannot_complete_is_refused(kind: str, more: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        told(kind, **more)
    assert (caught.value.param, caught.value.status) == (param, 400)


def test_wishes_that_an_engine_has_no_ear_for_are_warned_of() -> None:
    thinking = ThinkingWish(enabled=True)
    body, warnings = told("vllm", best_of=2, thinking=thinking, keep_alive=msgspec.Raw(b"1"), context_length=5)
    assert body.keys() == {"model", "prompt"}
    assert [warning.split()[0] for warning in warnings] == ["best_of", "thinking", "num_ctx", "keep_alive"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [[1], 2]}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"model": ""}, "model"),
        ({"logprobs": True}, "logprobs"),
        ({"stream_options": 5}, "stream_options"),
    ],
)
def test_a_mistake_is_named(more: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        asked(**more)
    assert caught.value.param == param


def test_stream_options_are_read_as_in_chats() -> None:
    request = asked(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert (request.streams, request.include_usage) == (True, True)
    assert request.warnings == ("stream_options.continuous_usage_stats is ignored",)
    assert told("vllm", streams=True)[0]["stream_options"] == {"include_usage": True}


# Answers


def stream(*events: bytes) -> list[Delta]:
    return decode(TextStreamDecoder(REQUEST), events)


def document(body: bytes) -> list[Delta]:
    return decode(TextDocumentDecoder(REQUEST), [body])


def test_vllms_stream_is_read() -> None:
    assert stream(*golden.VLLM_COMPLETIONS.events) == [
        Begin("cmpl-1"),
        TextDelta("Hel"),
        TextDelta("lo"),
        Finish(FinishReason.STOP),
        Report(TokenReport(4, 2)),
        End(),
    ]


def test_byte_by_byte_is_the_same_as_whole() -> None:
    data = golden.VLLM_COMPLETIONS.data.replace(b"lo", "lö".encode())
    assert stream(*(bytes([byte]) for byte in data)) == stream(data)


_LLAMACPP = (
    b'{"choices":[{"text":"hi","index":0,"logprobs":{"content":[{"id":5,"token":"hi","bytes":[104],"logprob":-0.5,'
    b'"top_logprobs":[{"id":5,"token":"hi","bytes":[104],"logprob":-0.5}]}]},"finish_reason":"length"}],"created":7,'
    b'"model":"m","system_fingerprint":"b1","object":"text_completion","usage":{"completion_tokens":1,"prompt_tokens":2,'
    b'"total_tokens":3},"id":"c","timings":{"prompt_n":2,"prompt_ms":1.5,"predicted_n":1,"predicted_ms":2.5}}'
)


def test_llamacpps_document_is_read() -> None:
    begin, text, logprobs, finish, report, end = document(_LLAMACPP)
    assert (begin, text, finish, end) == (
        Begin("c", "m", 7), TextDelta("hi"), Finish(FinishReason.LENGTH), End(),
    )  # fmt: skip
    assert isinstance(logprobs, Logprobs)
    assert report == Report(TokenReport(2, 1, prompt_ns=1_500_000, completion_ns=2_500_000))


def test_choices_of_several_prompts_keep_their_index() -> None:
    events = [
        b'data: {"choices":[{"index":1,"text":"b","finish_reason":"stop","stop_reason":"#"}]}\n\n',
        b'data: {"choices":[{"index":0,"text":"a","finish_reason":null}]}\n\n',
    ]
    assert stream(*events, DONE) == [
        Begin(),
        TextDelta("b", 1),
        Finish(FinishReason.STOP_SEQUENCE, 1, "#"),
        TextDelta("a"),
        Finish(FinishReason.STOP),
        End(),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no"}}', "no"),
        (b'{"choices":[]}', "the engine's answer holds no choice"),
        (b'{"choices":[{"text":5}]}', "the engine sent what cannot be read as an answer"),
        (b"", ENDED_EARLY),
    ],
)
def test_what_is_no_document_is_a_failure(body: bytes, message: str) -> None:
    assert document(body)[-1] == Failure(message)


def test_a_stream_that_breaks_keeps_what_was_complete() -> None:
    assert stream(golden.VLLM_COMPLETIONS.events[0], b'data: {"error":{"message":"x"}}\n\n') == [
        Begin("cmpl-1"),
        TextDelta("Hel"),
        Failure("x"),
    ]


def events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(one.removeprefix(b"data: ")) for one in data.split(b"\n\n")[:-2]]


TEXT: list[Delta] = [
    Begin("x"),
    ThinkingDelta("hm"),
    TextDelta("Grüße"),
    ToolCallBegin(0, "a", "f"),
    TextDelta("!"),
    Finish(FinishReason.TOOL_CALLS),
    Report(TokenReport(1, 2)),
    End(),
]


def test_a_stream_as_a_caller_sees_it() -> None:
    first, second, last, usage = events(encode(TextStreamEncoder(CONTEXT), TEXT))
    assert first == {
        "id": "cmpl-0-1",
        "object": "text_completion",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [{"index": 0, "text": "Grüße", "logprobs": None, "finish_reason": None}],
        "usage": None,
    }
    assert (second["choices"][0]["text"], last["choices"][0]["finish_reason"]) == ("!", "stop")
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 3)
    unasked = AnswerContext(REQUEST, "m", 0.0, include_usage=False)
    assert b"usage" not in encode(TextStreamEncoder(unasked), TEXT)


def test_a_document_as_a_caller_sees_it() -> None:
    assert json.loads(encode(TextDocumentEncoder(CONTEXT), TEXT)) == {
        "id": "cmpl-0-1",
        "object": "text_completion",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [{"index": 0, "text": "Grüße!", "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def test_a_chats_logprobs_are_said_as_a_completions_with_their_place() -> None:
    one = Logprobs(msgspec.Raw(b'{"content":[{"token":"Gr\xc3\xbc","logprob":-0.5}]}'))
    deltas: list[Delta] = [TextDelta("Grü"), one, TextDelta("Grü"), one, End()]
    whole = json.loads(encode(TextDocumentEncoder(CONTEXT), deltas))["choices"][0]["logprobs"]
    assert whole == {
        "tokens": ["Grü", "Grü"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{}, {}],
        "text_offset": [0, 3],
    }
    for batches in ([], [1, 1, 1]):
        chunks = events(encode(TextStreamEncoder(CONTEXT), deltas, batches))
        said = [chunk["choices"][0]["logprobs"] for chunk in chunks]
        assert [one["text_offset"] for one in said if one] == [[0], [3]]


def test_only_a_stream_shows_signs_of_life() -> None:
    assert TextStreamEncoder(CONTEXT).ping() == b": ping\n\n"
    assert TextDocumentEncoder(CONTEXT).ping() == b""


@fuzz(40)
@given(answers(is_chat=False), st.lists(st.integers(0, 5), max_size=6))
def test_what_is_streamed_comes_back(deltas: list[Delta], batches: list[int]) -> None:
    deltas = [delta for delta in deltas if not isinstance(delta, Logprobs)]
    data = encode(TextStreamEncoder(CONTEXT), deltas, batches)
    assert decode(TextStreamDecoder(REQUEST), [data]) == [Begin("cmpl-0-1", "m", 1_790_000_000), *deltas]


@fuzz(40)
@given(answers(is_chat=False))
def test_a_document_comes_back_as_the_same_document(deltas: list[Delta]) -> None:
    data = encode(TextDocumentEncoder(CONTEXT), deltas)
    Completion.model_validate_json(data)
    assert encode(TextDocumentEncoder(CONTEXT), decode(TextDocumentDecoder(REQUEST), [data])) == data


# Fuzzing

SNIPPETS = [b"\n\n", b"\n", b"data: ", b"{", b"}", b'"', b"null", b"\xff", b"\\ud800", b"[DONE]", b":0", b"1e999"]
REQUESTS = [
    b'{"model":"m","prompt":["a","b"],"logprobs":1,"stream":true,"stream_options":{"include_usage":true},"stop":["x"]}',
    b'{"model":"m","prompt":[[1],[2,3]],"response_format":{"type":"json_object"},"logit_bias":{"1":2},"x":[{}]}',
]


def fuzz_request(body: bytes) -> None:
    """Invariant: a request is decoded and can be said to some engine, or is refused; nothing else is raised."""
    try:
        request = decode_text(body)
        for kind in KINDS:
            encode_text(request, Target(kind, "m"))
    except ClientError:
        pass


def fuzz_stream(data: bytes) -> None:
    """Invariant: one end, and it is the last; cuts make no difference; both encoders can say it."""
    whole = decode(TextStreamDecoder(REQUEST), [data])
    ends_well_or_fails(whole)
    half = len(data) // 2
    assert decode(TextStreamDecoder(REQUEST), [data[:half], data[half:]]) == whole
    encode(TextStreamEncoder(CONTEXT), whole)
    encode(TextDocumentEncoder(CONTEXT), whole)


def fuzz_document(data: bytes) -> None:
    """Invariant: as of a stream."""
    whole = decode(TextDocumentDecoder(REQUEST), [data])
    ends_well_or_fails(whole)
    encode(TextDocumentEncoder(CONTEXT), whole)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {
    "openai text request": fuzz_request,
    "openai text stream": fuzz_stream,
    "openai text document": fuzz_document,
}


@fuzz(50)
@given(mutated(REQUESTS, SNIPPETS))
def test_whatever_is_asked_is_answered_or_refused(body: bytes) -> None:
    fuzz_request(body)


@fuzz(50)
@given(mutated([golden.VLLM_COMPLETIONS.data], SNIPPETS), st.lists(st.integers(0, 500), max_size=4))
def test_no_stream_breaks_the_decoder(data: bytes, places: list[int]) -> None:
    fuzz_stream(data)
    assert stream(*split_at(data, places)) == stream(data)


@fuzz(40)
@given(mutated([_LLAMACPP], SNIPPETS))
def test_no_document_breaks_the_decoder(data: bytes) -> None:
    fuzz_document(data)
