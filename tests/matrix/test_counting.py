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
def test_of_others_it_is_estimated_here(house: House, engine: Engine) -> None:
    """From the size of the prompt, and what answers have taught; nobody is asked."""
    body = MESSAGES.write(engine.model, asked("say:How many?"))
    del body["max_tokens"]
    response = house.post("/v1/messages/count_tokens", body)
    assert response.status_code == 200
    answer = house.judge(engine, response)
    assert answer.truth == {}
    assert json.loads(response.content)["input_tokens"] > 0
    assert not answer.record.prompt_tokens
