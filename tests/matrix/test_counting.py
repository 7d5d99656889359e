"""Tokens of a prompt, counted before it is sent: Anthropic's `count_tokens`."""

import json

import pytest

from tests.matrix.asks import asked
from tests.matrix.callers.messages import Messages
from tests.matrix.engines import ANTHROPIC, ENGINES, Engine
from tests.matrix.house import House
from tests.matrix.test_tools import TOOLS

pytestmark = pytest.mark.slow

MESSAGES = Messages()


def test_anthropic_counts_what_it_would_be_sent(house: House) -> None:
    ask = asked("say:How many?", tools=TOOLS)
    body = MESSAGES.write(ANTHROPIC.model, ask)
    del body["max_tokens"]
    response = house.post("/v1/messages/count_tokens", body)
    counted = json.loads(response.content)["input_tokens"]
    assert counted == house.answered(MESSAGES, ANTHROPIC, ask).seen.prompt_tokens


@pytest.mark.parametrize("engine", [each for each in ENGINES if each is not ANTHROPIC], ids=lambda engine: engine.name)
def test_of_others_their_tokenizer_counts_the_same_or_an_estimate_says_that_it_is_one(
    house: House, engine: Engine
) -> None:
    ask = asked("say:How many?", tools=TOOLS)
    body = MESSAGES.write(engine.model, ask)
    del body["max_tokens"]
    response = house.post("/v1/messages/count_tokens", body)
    assert response.status_code == 200
    counted = json.loads(response.content)["input_tokens"]
    has_tokenizer = engine.kind in ("vllm", "llamacpp")
    assert ("estimate" in response.headers.get("warning", "")) is not has_tokenizer
    assert not house.record_of(response.headers["x-request-id"]).prompt_tokens
    if has_tokenizer:
        assert counted == house.answered(MESSAGES, engine, ask).seen.prompt_tokens
    else:
        assert counted > 0
