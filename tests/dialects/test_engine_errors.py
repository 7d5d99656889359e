"""What an engine says of its errors, whatever its dialect.

Sources: OpenAI API reference and Anthropic API reference, "Errors" (2026); vLLM's ErrorResponse, v0.9 (2025), in
vllm/entrypoints/openai/protocol.py; ollama docs/api/errors.mdx, v0.17.4, and FastAPI's "Handling Errors" (2026).
"""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.dialects.engine_errors import read_error_message
from tests.fuzzing import fuzz, mutated

BODIES = {
    "OpenAI": b'{"error":{"message":"no such thing","type":"invalid_request_error","param":null,"code":404}}',
    "vLLM before 0.10": b'{"object":"error","message":"no such thing","type":"NotFoundError","param":null,"code":404}',
    "Anthropic": b'{"type":"error","error":{"type":"not_found_error","message":"no such thing"},"request_id":"r"}',
    "Ollama": b'{"error":"no such thing"}',
    "FastAPI": b'{"detail":"no such thing"}',
    "FastAPI's validation": b'{"detail":[{"type":"missing","loc":["body","model"],"msg":"no such thing"},{"msg":"x"}]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_every_engines_words_are_found(body: bytes) -> None:
    assert read_error_message(body) == "no such thing"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Internal Server Error",
        b"<html><body>502 Bad Gateway</body></html>",
        b"[]",
        b"null",
        b'{"error":',
        b'{"error":null}',
        b'{"error":{"code":5}}',
        b'{"error":[]}',
        b'{"detail":[[]]}',
        b'{"message":{"message":7}}',
        b'{"choices":[]}',
        b'{"error":"\xff"}',
        b'{"a":' + b"[" * 50_000,
    ],
)
def test_what_is_no_error_has_no_words(body: bytes) -> None:
    assert read_error_message(body) == ""


def test_an_empty_error_does_not_hide_other_words() -> None:
    assert read_error_message(b'{"error":null,"message":"here"}') == "here"


def test_words_have_a_bound() -> None:
    for body in ({"error": "x" * 5000}, {"error": {"message": "x" * 5000}}):
        assert read_error_message(json.dumps(body).encode()) == "x" * 2000


def read_anything(body: bytes) -> None:
    """Invariant: a text, never an exception."""
    assert len(read_error_message(body)) <= 2000


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"engine errors": read_anything}


@fuzz(75)
@given(mutated(list(BODIES.values()), [b"null", b"[", b"{", b'"', b"\xff", b"\\ud800"]) | st.binary(max_size=60))
def test_any_bytes_have_words_or_none(body: bytes) -> None:
    read_anything(body)
