"""Plain chats over every pair of a caller's dialect and an engine: what is said arrives, and so does the answer."""

import pytest

from tests.matrix.asks import Ask, Turn, asked, user
from tests.matrix.callers.caller import Caller
from tests.matrix.engines import Engine
from tests.matrix.heard import hear
from tests.matrix.house import House
from tests.matrix.pairs import ALL_CALLERS, SHAPES, pairs

pytestmark = pytest.mark.slow

TEXT = 'Größer 🎈 "quoted" \\ and\ttabbed, 100 % of <it>.'


@SHAPES
@pairs(callers=ALL_CALLERS)
def test_a_text_is_answered(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    answer = house.answered(caller, engine, asked(f"say:{TEXT}", stream=stream))
    assert answer.seen.text == TEXT
    assert (answer.seen.thinking, answer.seen.calls) == ("", [])
    assert answer.seen.finish == caller.words.stop
    assert answer.record.stream is stream


@SHAPES
@pairs()
def test_a_conversation_arrives_turn_by_turn(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    turns = (
        Turn("system", ("Be brief.",)),
        user("Who are you?"),
        Turn("assistant", ("A mock.",)),
        user("say:Yes."),
    )
    answer = house.answered(caller, engine, Ask(turns, stream=stream))
    assert answer.seen.text == "Yes."
    assert hear(engine.dialect(caller.surface), answer.said).texts == [
        ("system", "Be brief."),
        ("user", "Who are you?"),
        ("assistant", "A mock."),
        ("user", "say:Yes."),
    ]


@SHAPES
@pairs()
def test_a_message_of_several_parts_is_heard_as_one(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    answer = house.answered(caller, engine, asked("say:one,", " two,", " three", stream=stream))
    assert answer.seen.text.startswith("one,")
    ((role, text),) = hear(engine.dialect(caller.surface), answer.said).texts
    assert (role, text.split()) == ("user", ["say:one,", "two,", "three"])
