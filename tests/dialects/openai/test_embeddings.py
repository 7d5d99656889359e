"""Embeddings. Shapes, all 2026: OpenAI API reference, "Create embeddings"; vLLM pooling/embed/protocol.py; llama.cpp
tools/server/README.md; ollama openai/openai.go."""

import json
import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from mrproxy.canonical.conversation import EmbeddingRequest
from mrproxy.canonical.deltas import TokenReport, Vectors
from mrproxy.dialects.codec import Target
from mrproxy.dialects.openai.embeddings import decode_embedding, decode_vectors, encode_embedding, encode_vectors
from mrproxy.errors import ClientError
from tests.dialects.openai import wishes
from tests.dialects.openai.answering import CONTEXT
from tests.fuzzing import fuzz, mutated

KINDS = ("openai", "vllm", "llamacpp")


def asked(**more: Any) -> EmbeddingRequest:
    return decode_embedding(json.dumps({"model": "m", "input": "a"} | more).encode())


def told(kind: str, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = encode_embedding(EmbeddingRequest(model="m", inputs=("a",), **more), Target(kind, "theirs"))
    return json.loads(encoded.body), encoded.warnings


@pytest.mark.parametrize(
    ("given_input", "inputs", "is_single"),
    [
        ("a", ("a",), True),
        (["a"], ("a",), False),
        (["a", "b"], ("a", "b"), False),
        ([1, 2], ((1, 2),), True),
        ([[1, 2]], ((1, 2),), False),
        ([[1], [2]], ((1,), (2,)), False),
    ],
)
def test_inputs_are_text_or_tokens_one_or_many(
    given_input: object, inputs: tuple[object, ...], is_single: bool
) -> None:
    request = asked(input=given_input)
    assert request == EmbeddingRequest(model="m", inputs=inputs, is_single=is_single)  # type: ignore[arg-type]
    assert json.loads(encode_embedding(request, Target("vllm", "m")).body)["input"] == given_input


@pytest.mark.parametrize("kind", KINDS)
@fuzz(20)
@given(data=st.data())
def test_what_the_dialect_can_say_comes_back_unchanged(kind: str, data: st.DataObject) -> None:
    request = EmbeddingRequest(
        model="m",
        inputs=tuple(data.draw(st.lists(wishes.TEXT, min_size=1, max_size=2))),
        dimensions=data.draw(st.none() | st.integers(1, 99)) if kind != "llamacpp" else None,
        wants_base64=data.draw(st.booleans()),
        user=data.draw(st.none() | wishes.NAME),
        extras=data.draw(wishes.EXTRAS),
    )
    encoded = encode_embedding(request, Target(kind, "m"))
    assert encoded.warnings == ()
    assert decode_embedding(encoded.body) == request


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [{"content": []}]}, "input[0]"),
        ({"model": None}, "model"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": "x"}, "dimensions"),
    ],
)
def test_a_mistake_is_named(more: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        asked(**more)
    assert caught.value.param == param


def test_truncation_is_each_engines_own() -> None:
    assert told("vllm", truncate=True) == (
        {"model": "theirs", "input": ["a"], "truncate_prompt_tokens": -1}, (),
    )  # fmt: skip
    assert told("openai", truncate=True)[1] == ("truncate is ignored: OpenAI's API has none",)
    assert told("openai", truncate=False) == ({"model": "theirs", "input": ["a"]}, ())


def test_dimensions_that_cannot_be_given_are_refused() -> None:
    assert told("vllm", dimensions=5)[0]["dimensions"] == 5
    with pytest.raises(ClientError) as caught:
        told("llamacpp", dimensions=5)
    assert caught.value.param == "dimensions"


def test_ollamas_wishes_are_warned_of() -> None:
    more: dict[str, Any] = {"keep_alive": msgspec.Raw(b"1"), "context_length": 5, "extras": {"raw": msgspec.Raw(b"1")}}
    assert [warning.split()[0] for warning in told("vllm", **more)[1]] == ["num_ctx", "keep_alive", "raw"]


# Vectors


def packed(*numbers: float) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def answer(*embeddings: object, numbers: list[int | None] | None = None) -> bytes:
    data = [
        {"object": "embedding", "embedding": one, "index": numbers[n] if numbers else n}
        for n, one in enumerate(embeddings)
    ]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode()


def test_vectors_are_read_as_numbers_or_base64_and_put_in_order() -> None:
    expected = Vectors(((1.0, -0.5), (2.0,)), TokenReport(5), "m")
    assert decode_vectors(answer([1, -0.5], [2.0])) == expected
    assert decode_vectors(answer(packed(1, -0.5), packed(2))) == expected
    assert decode_vectors(answer([2], [1, -0.5], numbers=[1, 0])) == expected
    assert decode_vectors(answer([1, -0.5], [2], numbers=[None, None])) == expected
    assert decode_vectors(b'{"data":[]}') == Vectors(())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"error":{"message":"x"}}',
        answer([[1.0]]),
        answer("A!=="),
        answer("AAA="),
        answer(packed(float("nan"))),
        answer([None]),
        answer([1], [2], numbers=[0, 0]),
        answer([1], numbers=[1]),
        answer([1]).replace(b'"index": 0', b'"index": "\xff"'),
    ],
)
def test_what_is_no_vector_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="engine"):
        decode_vectors(body)


@fuzz(30)
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=4)), st.booleans())
def test_vectors_come_back(numbers: list[list[float]], wants_base64: bool) -> None:
    vectors = Vectors(tuple(tuple(one) for one in numbers), TokenReport(3), "m")
    request = EmbeddingRequest(model="m", inputs=("a",), wants_base64=wants_base64)
    body = encode_vectors(vectors, request, CONTEXT)
    assert decode_vectors(body) == vectors
    if not wants_base64:
        CreateEmbeddingResponse.model_validate_json(body)


def test_an_answer_as_a_caller_sees_it() -> None:
    vectors = Vectors(((1.0,),), TokenReport(5), "theirs")
    request = EmbeddingRequest(model="m", inputs=("a",))
    assert json.loads(encode_vectors(vectors, request, CONTEXT)) == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}],
        "model": "m",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


# Fuzzing

SNIPPETS = [b"{", b"}", b"[", b"]", b'"', b",", b"null", b"\xff", b"\\ud800", b"1e999", b"-1", b'"AAAA"']


def fuzz_request(body: bytes) -> None:
    """Invariant: a request is decoded and can be said to some engine, or is refused; nothing else is raised."""
    try:
        request = decode_embedding(body)
        for kind in KINDS:
            encode_embedding(request, Target(kind, "m"))
    except ClientError:
        pass


def fuzz_vectors(body: bytes) -> None:
    """Invariant: vectors that can be said, or a ValueError."""
    try:
        vectors = decode_vectors(body)
    except ValueError:
        return
    for wants_base64 in (True, False):
        encode_vectors(vectors, EmbeddingRequest(model="m", inputs=("a",), wants_base64=wants_base64), CONTEXT)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {
    "openai embedding request": fuzz_request,
    "openai vectors": fuzz_vectors,
}


@fuzz(40)
@given(mutated([b'{"model":"m","input":["a",[1]],"dimensions":5,"encoding_format":"base64","x":1}'], SNIPPETS))
def test_whatever_is_asked_is_answered_or_refused(body: bytes) -> None:
    fuzz_request(body)


@fuzz(40)
@given(mutated([answer([1.5, 2]), answer(packed(1, 2))], SNIPPETS))
def test_no_answer_breaks_the_decoder(body: bytes) -> None:
    fuzz_vectors(body)
