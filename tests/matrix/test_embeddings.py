"""Embeddings: three ways to ask for them over every engine that makes some, and how the others say no."""

import base64
import json
import struct

import pytest

from bench.backends.openai_json import count_prompt_tokens, embed_text
from mrproxy.dialects.routes import find_route
from tests.matrix.engines import ANTHROPIC, ENGINES, NEW_VLLM, VLLM, Engine
from tests.matrix.house import Answer, House, Json, check_lane

pytestmark = pytest.mark.slow

PATHS = {"/v1/embeddings": "embeddings", "/api/embed": "ollama", "/api/embeddings": "ollama"}
MAKERS = [engine for engine in ENGINES if engine.kind != "anthropic"]
ONE, TWO = "größer", "a second, longer text"

EACH = pytest.mark.parametrize("engine", MAKERS, ids=lambda engine: engine.name)


def ask(house: House, engine: Engine, path: str, **fields: object) -> Answer:
    answer = house.judge(engine, house.post(path, {"model": engine.model} | fields))
    assert answer.status == 200, answer.body
    check_lane(PATHS[path], engine, answer)
    return answer


def check_counts(answer: Answer, texts: list[str], told: int | None) -> None:
    """As the mocks count inputs; nothing is generated."""
    tokens = sum(count_prompt_tokens(len(text)) for text in texts)
    assert (answer.record.prompt_tokens, answer.record.completion_tokens or 0) == (tokens, 0)
    assert answer.record.usage_state == "exact"
    assert told in (tokens, None)


def expected(text: str, dimensions: int = 8) -> list[float]:
    return embed_text(text, dimensions, 1)


def openai_vectors(answer: Answer) -> list[list[float]]:
    found: Json = json.loads(answer.body)
    assert found["object"] == "list"
    assert [item["index"] for item in found["data"]] == list(range(len(found["data"])))
    return [unpacked(item["embedding"]) for item in found["data"]]


def unpacked(vector: list[float] | str) -> list[float]:
    if isinstance(vector, list):
        return vector
    data = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


@pytest.mark.parametrize("given", [ONE, [ONE], [ONE, TWO]], ids=["text", "list of one", "list"])
@EACH
def test_openai_asks(house: House, engine: Engine, given: str | list[str]) -> None:
    texts = [given] if isinstance(given, str) else given
    answer = ask(house, engine, "/v1/embeddings", input=given)
    assert openai_vectors(answer) == [expected(text) for text in texts]
    check_counts(answer, texts, json.loads(answer.body)["usage"]["prompt_tokens"])


@EACH
def test_openai_asks_for_packed_vectors(house: House, engine: Engine) -> None:
    answer = ask(house, engine, "/v1/embeddings", input=[ONE, TWO], encoding_format="base64")
    assert isinstance(json.loads(answer.body)["data"][0]["embedding"], str)
    assert openai_vectors(answer) == [expected(ONE), expected(TWO)]


@pytest.mark.parametrize("given", [ONE, [ONE], [ONE, TWO]], ids=["text", "list of one", "list"])
@EACH
def test_ollama_asks(house: House, engine: Engine, given: str | list[str]) -> None:
    texts = [given] if isinstance(given, str) else given
    answer = ask(house, engine, "/api/embed", input=given)
    found: Json = json.loads(answer.body)
    assert found["embeddings"] == [expected(text) for text in texts]
    check_counts(answer, texts, found["prompt_eval_count"])


@EACH
def test_ollama_asks_as_it_did_before(house: House, engine: Engine) -> None:
    """/api/embeddings tells no counts; an engine that is asked in its place does."""
    answer = ask(house, engine, "/api/embeddings", prompt=ONE)
    assert json.loads(answer.body) == {"embedding": expected(ONE)}
    if engine.kind != "ollama":
        check_counts(answer, [ONE], None)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed"])
@EACH
def test_shorter_vectors_can_be_asked_for(house: House, engine: Engine, path: str) -> None:
    if engine.kind == "llamacpp" and path == "/api/embed":
        response = house.post(path, {"model": engine.model, "input": ONE, "dimensions": 4})
        assert response.status_code == 400
        assert "dimensions" in response.json()["error"]
        return
    answer = ask(house, engine, path, input=ONE, dimensions=4)
    made = openai_vectors(answer) if path == "/v1/embeddings" else json.loads(answer.body)["embeddings"]
    assert made == [expected(ONE, 4)]


@pytest.mark.parametrize("engine", [VLLM, NEW_VLLM], ids=lambda engine: engine.name)
def test_token_ids_are_text_to_who_takes_them(house: House, engine: Engine) -> None:
    answer = ask(house, engine, "/v1/embeddings", input=[[1, 2, 3], [4]])
    assert len(openai_vectors(answer)) == 2
    assert answer.record.prompt_tokens == 4


@pytest.mark.parametrize("path", PATHS)
def test_anthropic_makes_none(house: House, path: str) -> None:
    """Refused before anybody is asked, in the caller's shape."""
    response = house.post(path, {"model": ANTHROPIC.model, "input": ONE, "prompt": ONE})
    answer = house.judge(ANTHROPIC, response)
    assert answer.status == 400
    assert answer.truth == {}
    dialect = find_route(b"POST", path.encode(), None).dialect.name
    error = json.loads(answer.body)["error"]
    assert isinstance(error, dict if dialect == "openai" else str)
