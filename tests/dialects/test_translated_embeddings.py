"""Embeddings in the translating lane: every caller's operation, every kind of engine that has them."""

import json
import struct
from base64 import b64decode
from typing import Any

import pytest

from mrproxy.canonical.exchange import Usage
from mrproxy.canonical.request import Operation
from mrproxy.dialects import translation
from mrproxy.dialects.codec import Target
from mrproxy.dialects.lanes import can_serve
from mrproxy.dialects.ollama import embeddings as ollama
from mrproxy.dialects.openai import embeddings as openai
from mrproxy.dialects.translation import Translation, answer_to_nothing, read_asked, translate
from mrproxy.errors import ClientError
from tests.dialects.codecs import CONTEXT, HTML
from tests.dialects.translating import KINDS

VECTORS = [[0.5, -1.25], [2.0, 0.0]]
# Where each caller has its input.
CALLERS = {
    ("openai", Operation.EMBEDDINGS): "input",
    ("ollama", Operation.EMBED): "input",
    ("ollama", Operation.EMBEDDINGS): "prompt",
}
PAIRS = [(*caller, kind) for caller in CALLERS for kind in KINDS if can_serve(kind, Operation.EMBEDDINGS)]
every_pair = pytest.mark.parametrize(("dialect", "operation", "kind"), PAIRS)


def made(dialect: str, operation: Operation, kind: str, given: object = "hi", **fields: Any) -> Translation:
    body = {"model": "public", CALLERS[dialect, operation]: given} | fields
    return translate(read_asked(dialect, operation, json.dumps(body).encode()), Target(kind, "own"), CONTEXT)


def spoken(kind: str, vectors: list[list[float]]) -> bytes:
    """As the engine answers: OpenAI API reference, "Create embeddings"; ollama docs/api.md (2026)."""
    if kind == "ollama":
        return json.dumps({"model": "own", "embeddings": vectors, "prompt_eval_count": 8}).encode()
    data = [{"object": "embedding", "index": number, "embedding": vector} for number, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return json.dumps({"object": "list", "data": data, "model": "own", "usage": usage}).encode()


def through(tap: Translation, *pieces: bytes) -> bytes:
    return b"".join([tap.tap.receive_data(piece) for piece in pieces]) + tap.tap.finish()


def vectors_in(answer: bytes) -> list[list[float]]:
    document = json.loads(answer)
    if "data" in document:
        assert [entry["index"] for entry in document["data"]] == list(range(len(document["data"])))
        return [entry["embedding"] for entry in document["data"]]
    found: list[list[float]] = document["embeddings"] if "embeddings" in document else [document["embedding"]]
    return found


@every_pair
def test_a_request_is_what_the_engine_reads_back(dialect: str, operation: Operation, kind: str) -> None:
    asked = made(dialect, operation, kind)
    reader = ollama.decode_embedding if kind == "ollama" else openai.decode_embedding
    request = reader(asked.body)
    assert asked.path == (b"/api/embed" if kind == "ollama" else b"/v1/embeddings")
    assert (request.model, request.inputs, request.is_single) == ("own", ("hi",), True)
    assert asked.warnings == ()
    assert asked.tap.is_document


@every_pair
def test_an_answer_is_what_the_caller_asked_for_wherever_it_is_cut(
    dialect: str, operation: Operation, kind: str
) -> None:
    data = spoken(kind, VECTORS[:1])
    for place in range(len(data)):
        asked = made(dialect, operation, kind)
        answer = through(asked, data[:place], data[place:])
        assert vectors_in(answer) == VECTORS[:1]
        assert (asked.tap.usage, asked.tap.failure, asked.tap.events) == (Usage(8, None), "", 0)
        assert b'"own"' not in answer


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
@pytest.mark.parametrize(("dialect", "operation"), [each for each in CALLERS if CALLERS[each] == "input"])
def test_vectors_are_in_the_order_of_their_inputs(dialect: str, operation: Operation, kind: str) -> None:
    asked = made(dialect, operation, kind, ["a", "b"])
    assert json.loads(asked.body)["input"] == ["a", "b"]
    assert vectors_in(through(asked, spoken(kind, VECTORS))) == VECTORS


def test_packed_vectors_are_packed_whatever_the_engine_sends() -> None:
    asked = made("openai", Operation.EMBEDDINGS, "ollama", encoding_format="base64")
    (entry,) = json.loads(through(asked, spoken("ollama", VECTORS[:1])))["data"]
    assert list(struct.unpack("<2f", b64decode(entry["embedding"]))) == VECTORS[0]


def test_what_an_engine_cannot_take_is_refused() -> None:
    with pytest.raises(ClientError) as caught:
        made("openai", Operation.EMBEDDINGS, "ollama", [1, 2, 3])
    assert caught.value.param == "input"
    with pytest.raises(ClientError) as caught:
        made("ollama", Operation.EMBED, "llamacpp", dimensions=64)
    assert caught.value.param == "dimensions"


def test_no_inputs_need_no_engine() -> None:
    asked = read_asked("ollama", Operation.EMBED, b'{"model":"public","input":[]}')
    answer = answer_to_nothing(asked, CONTEXT)
    assert answer is not None
    assert json.loads(answer) == {"model": "public", "embeddings": []}
    legacy = answer_to_nothing(read_asked("ollama", Operation.EMBEDDINGS, b'{"model":"public"}'), CONTEXT)
    assert legacy == b'{"embedding":[]}'
    some = read_asked("ollama", Operation.EMBED, b'{"model":"public","input":"hi"}')
    assert answer_to_nothing(some, CONTEXT) is None


# Failures


@every_pair
@pytest.mark.parametrize("data", [HTML, b"", b"{", b"null", b"{}", b'{"error":"boom"}', b'{"embeddings":["a"]}'])
def test_what_holds_no_vectors_is_a_failure(dialect: str, operation: Operation, kind: str, data: bytes) -> None:
    asked = made(dialect, operation, kind)
    assert through(asked, data) == b""
    assert asked.tap.failure
    assert asked.tap.usage is None


@every_pair
@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_vectors_than_of_inputs_is_a_failure(
    dialect: str, operation: Operation, kind: str, count: int
) -> None:
    asked = made(dialect, operation, kind)
    assert through(asked, spoken(kind, VECTORS[:count])) == b""
    assert asked.tap.failure == f"the engine made {count} embeddings of 1 inputs"


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "_MAX_VECTOR_BYTES", 100)
    asked = made("openai", Operation.EMBEDDINGS, "ollama")
    assert through(asked, b"x" * 60) == b""
    asked = made("openai", Operation.EMBEDDINGS, "ollama")
    assert asked.tap.receive_data(b"x" * 60) == asked.tap.receive_data(b"x" * 60) == b""
    assert asked.tap.failure == "the engine's answer is too large"
    assert asked.tap.ping() == b""
