"""The engine alone: what the other tests take for granted about it."""

from collections.abc import Iterator

import openai
import pytest

from tests.real_engine.conftest import MODEL, Engine, open_client

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(120)]


@pytest.fixture
def client(engine: Engine) -> Iterator[openai.OpenAI]:
    with open_client(engine.url) as client:
        yield client


def test_the_model_never_stops_before_max_tokens(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="one gateway", max_tokens=300)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 300


def test_the_same_seed_gives_the_same_words(client: openai.OpenAI) -> None:
    texts = [
        client.completions.create(model=MODEL, prompt="one", max_tokens=20, seed=7, temperature=0).choices[0].text
        for _ in range(2)
    ]
    assert texts[0] == texts[1]
    assert texts[0].strip()
