"""/api/embed and /api/embeddings. Shapes: ollama docs/api.md and server/routes.go, v0.17.4 (February 2026)."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.conversation import EmbeddingRequest
from mrproxy.canonical.deltas import TokenReport, Vectors
from mrproxy.dialects.codec import AnswerContext, Target
from mrproxy.dialects.ollama.embeddings import (
    decode_embedding,
    decode_embedding_legacy,
    decode_vectors,
    encode_embedding,
    encode_vectors,
    encode_vectors_legacy,
)
from mrproxy.errors import ClientError
from tests.dialects.ollama import golden
from tests.dialects.ollama.wishes import EMBEDDINGS
from tests.fuzzing import fuzz, mutated

TARGET = Target("ollama", "gpt-oss")
CONTEXT = AnswerContext("r", "all-minilm", 0.0)
REQUEST = EmbeddingRequest(model="m", inputs=("a",))


def asked(**more: Any) -> EmbeddingRequest:
    return decode_embedding(json.dumps({"model": "m"} | more).encode())


def told(target: Target = TARGET, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = encode_embedding(EmbeddingRequest(**{"model": "m", "inputs": ("a",)} | more), target)
    return json.loads(encoded.body), encoded.warnings


def test_one_input_or_many() -> None:
    assert asked(input="a") == EmbeddingRequest(model="m", inputs=("a",), is_single=True)
    assert asked(input=["a", ""]) == EmbeddingRequest(model="m", inputs=("a", ""))
    assert asked().inputs == asked(input=None).inputs == asked(input=[]).inputs == asked(input="").inputs == ()


def test_every_field_has_its_place() -> None:
    request = asked(
        input=["a"], truncate=False, dimensions=64, keep_alive="1m", options={"num_ctx": 8, "num_gpu": 0}, other=1
    )
    assert request == EmbeddingRequest(
        model="m",
        inputs=("a",),
        dimensions=64,
        truncate=False,
        keep_alive=msgspec.Raw(b'"1m"'),
        context_length=8,
        engine_options={"num_gpu": msgspec.Raw(b"0")},
        extras={"other": msgspec.Raw(b"1")},
    )
    assert asked(dimensions=0).dimensions is None


def test_the_older_way_has_one_prompt() -> None:
    older = decode_embedding_legacy(b'{"model":"m","prompt":"a","options":{"num_ctx":8}}')
    assert older == EmbeddingRequest(model="m", inputs=("a",), is_single=True, context_length=8)
    assert decode_embedding_legacy(b'{"model":"m"}').inputs == ()


@pytest.mark.parametrize(
    "wrong", [{"input": 5}, {"input": [5]}, {"input": [[1, 2]]}, {"truncate": "no"}, {"model": ""}]
)
def test_mistakes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as caught:
        asked(**wrong)
    assert (caught.value.param or "").startswith(next(iter(wrong)))


@fuzz(30)
@given(EMBEDDINGS)
def test_what_the_dialect_can_say_comes_back_unchanged(request: EmbeddingRequest) -> None:
    encoded = encode_embedding(request, TARGET)
    assert encoded.warnings == ()
    assert decode_embedding(encoded.body) == request


def test_tokens_are_refused_and_the_rest_is_warned_of() -> None:
    with pytest.raises(ClientError) as caught:
        told(inputs=("a", (1, 2)))
    assert caught.value.param == "input"
    body, warnings = told(Target("ollama", "m", 512), user="u", wants_base64=True, extras={"x": msgspec.Raw(b"1")})
    assert body == {"model": "m", "input": ["a"], "options": {"num_ctx": 512}}
    assert warnings == ("user is ignored: Ollama has none", "x is ignored: Ollama has no such field")


def test_vectors_are_read_with_their_counts() -> None:
    assert decode_vectors(golden.EMBEDDED) == Vectors(
        ((0.010071029, -0.0017594862), (-0.0098027075, 0.06042469)),
        TokenReport(8, load_ns=1019500, total_ns=14143917),
        "all-minilm",
    )


@pytest.mark.parametrize("other", [b"", b"{}", b"<html>", b'{"embeddings":[["a"]]}', b"\xff", b"[" * 9999, b"null"])
def test_what_has_no_vectors_is_a_value_error(other: bytes) -> None:
    with pytest.raises(ValueError, match="no embeddings"):
        decode_vectors(other)


def test_vectors_come_back_unchanged_and_the_sdk_reads_them() -> None:
    vectors = decode_vectors(golden.EMBEDDED)
    written = encode_vectors(vectors, REQUEST, CONTEXT)
    assert decode_vectors(written) == vectors
    assert ollama.EmbedResponse(**json.loads(written)).prompt_eval_count == 8
    assert json.loads(encode_vectors(Vectors(((1.0,),)), REQUEST, CONTEXT)) == {
        "model": "all-minilm", "embeddings": [[1.0]],
    }  # fmt: skip


def test_the_older_way_gets_one_vector() -> None:
    assert json.loads(encode_vectors_legacy(Vectors(((1.0, 2.0),)), REQUEST, CONTEXT)) == {"embedding": [1.0, 2.0]}
    assert encode_vectors_legacy(Vectors(()), REQUEST, CONTEXT) == b'{"embedding":[]}'


# The fuzzer. Invariant: requests end in a request or a ClientError, vectors in Vectors or a ValueError.

EXAMPLES = [
    b'{"model":"m","input":["a","b"],"truncate":true,"dimensions":5,"options":{"num_ctx":8}}',
    b'{"model":"m","prompt":"a","keep_alive":"5m"}',
    golden.EMBEDDED,
]
SNIPPETS = [b"null", b"{}", b"[", b'"', b"\xff", b"1e999", b"-", b"\\ud800"]


def fuzz_embedding(data: bytes) -> None:
    for decode in (decode_embedding, decode_embedding_legacy):
        with contextlib.suppress(ClientError):
            encode_embedding(decode(data), TARGET)
    with contextlib.suppress(ValueError):
        decode_vectors(data)


@fuzz(75)
@given(mutated(EXAMPLES, SNIPPETS) | st.binary(max_size=40))
def test_nothing_but_client_errors_and_value_errors(data: bytes) -> None:
    fuzz_embedding(data)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"ollama embedding": fuzz_embedding}
