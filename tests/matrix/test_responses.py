"""Conversations that are kept here, over every engine: none of them has to know of it."""

import pytest

from tests.matrix.asks import Call, asked
from tests.matrix.callers.responses import Responses
from tests.matrix.engines import ENGINES, Engine
from tests.matrix.heard import hear
from tests.matrix.house import Answer, House, Json
from tests.matrix.pairs import SHAPES
from tests.matrix.test_tools import TOOLS

pytestmark = pytest.mark.slow

RESPONSES = Responses()
EACH = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)


def respond(house: House, engine: Engine, stream: bool, text: str, *, warns: int = 0, **fields: object) -> Answer:
    """Kept, and so translated, whatever the engine speaks."""
    body: Json = RESPONSES.write(engine.model, asked(text, tools=TOOLS, stream=stream))
    del body["store"]
    answer = house.judge(engine, house.post(RESPONSES.path, body | fields))
    assert answer.status == 200, answer.body
    assert answer.record.lane == "translating"
    assert len(answer.warnings) == warns
    seen = RESPONSES.read_stream(answer.body) if stream else RESPONSES.read_document(answer.body)
    true_counts = (answer.truth["prompt_tokens"], answer.truth["completion_tokens"])
    assert (answer.record.prompt_tokens, answer.record.completion_tokens) == true_counts
    assert (seen.prompt_tokens, seen.completion_tokens) == true_counts
    return Answer(answer.status, answer.headers, answer.body, answer.record, answer.truth, seen)


@SHAPES
@EACH
def test_a_conversation_goes_on_where_it_was(house: House, engine: Engine, stream: bool) -> None:
    first = respond(house, engine, stream, "say:One.")
    second = respond(house, engine, stream, "say:Two.", previous_response_id=first.seen.id)
    third = respond(house, engine, stream, "say:Three.", previous_response_id=second.seen.id)
    assert third.seen.text == "Three."
    assert hear(engine.dialect("chat" if engine.kind != "ollama" else "generate"), third.said).texts == [
        ("user", "say:One."),
        ("assistant", "One."),
        ("user", "say:Two."),
        ("assistant", "Two."),
        ("user", "say:Three."),
    ]


@SHAPES
@EACH
def test_only_the_tools_words_are_sent(house: House, engine: Engine, stream: bool) -> None:
    """The agents' loop of this API: the call is remembered, its output is all that comes."""
    first = respond(house, engine, stream, 'call:weather{"city": "Köln"}')
    (call,) = first.seen.calls
    assert call == Call("weather", {"city": "Köln"}, call.id)
    output = [{"type": "function_call_output", "call_id": call.id, "output": "18 °C"}]
    second = respond(house, engine, stream, "", previous_response_id=first.seen.id, input=output)
    assert second.seen.text == "The tools said: 18 °C"


@EACH
def test_what_is_kept_can_be_read(house: House, engine: Engine) -> None:
    made = respond(house, engine, False, "say:One.")
    found = house.get(f"{RESPONSES.path}/{made.seen.id}")
    assert RESPONSES.read_document(found.content).text == "One."
    items = house.get(f"{RESPONSES.path}/{made.seen.id}/input_items").json()["data"]
    assert [item["content"][0]["text"] for item in items] == ["say:One."]


def test_an_engine_may_change_in_the_middle(house: House) -> None:
    """Each turn by another one; what was said stays."""
    before: Json = {}
    for number, engine in enumerate(ENGINES):
        answer = respond(house, engine, False, f"say:{number}", **before)
        before = {"previous_response_id": answer.seen.id}
    body: Json = answer.said
    assert sum(message["role"] == "assistant" for message in body["messages"]) == len(ENGINES) - 1
