"""Tools over every pair: calls, several at once, their results, and what may be asked of the engine about them."""

import pytest

from tests.matrix.asks import Ask, Call, Result, Tool, Turn, asked, user
from tests.matrix.callers.caller import Caller
from tests.matrix.engines import ANTHROPIC, KINDS, OLLAMA, STYLED, VLLM, Engine
from tests.matrix.heard import hear
from tests.matrix.house import House
from tests.matrix.pairs import CALLERS, SHAPES, pairs

pytestmark = pytest.mark.slow

WEATHER = Tool("weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
TIME = Tool("time", {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]})
TOOLS = (WEATHER, TIME)
COLOGNE = {"city": 'Köln "am Rhein"', "days": [1, 2.5, None], "deep": {"a": True}}
BOTH = 'call:weather{"city": "Köln"} call:time{"zone": "CET"}'
CALLS = [("weather", {"city": "Köln"}), ("time", {"zone": "CET"})]
CALLERS_BY_NAME = {caller.name: caller for caller in CALLERS}


@SHAPES
@pairs()
def test_a_tool_is_called(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    words = 'call:weather{"city": "Köln \\"am Rhein\\"", "days": [1, 2.5, null], "deep": {"a": true}}'
    answer = house.answered(caller, engine, asked(words, tools=TOOLS, stream=stream))
    assert answer.seen.named_calls == [("weather", COLOGNE)]
    assert answer.seen.text == ""
    assert answer.seen.finish == caller.words.tools
    assert hear(engine.dialect(caller.surface), answer.said).tools == ["weather", "time"]


@SHAPES
@pairs()
def test_tools_are_called_at_once(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    answer = house.answered(caller, engine, asked(BOTH, tools=TOOLS, stream=stream))
    assert answer.seen.named_calls == CALLS
    assert answer.seen.finish == caller.words.tools
    ids = [call.id for call in answer.seen.calls]
    assert all(ids)
    assert len(set(ids)) == 2


@SHAPES
@pairs()
def test_a_tool_without_arguments_is_called_with_none(
    house: House, caller: Caller, engine: Engine, stream: bool
) -> None:
    tool = Tool("ping", {"type": "object", "properties": {}})
    answer = house.answered(caller, engine, asked("call:ping{}", tools=(tool,), stream=stream))
    assert answer.seen.named_calls == [("ping", {})]


@pytest.mark.parametrize("style", STYLED)
@SHAPES
@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_calls_are_put_together_however_an_engine_cuts_them(
    house: House, caller: Caller, style: str, stream: bool
) -> None:
    """Servers of OpenAI's dialect differ in ids and indices. Callers of that dialect see them as they are."""
    engine = STYLED[style]
    answer = house.answered(caller, engine, asked(BOTH, tools=TOOLS, stream=stream))
    assert answer.seen.named_calls == CALLS
    assert answer.seen.finish == caller.words.tools
    if answer.record.lane == "translating":
        assert len({call.id for call in answer.seen.calls} - {""}) == 2


@SHAPES
@pairs()
def test_what_the_tools_said_comes_back_to_the_model(
    house: House, caller: Caller, engine: Engine, stream: bool
) -> None:
    """With the ids that the caller was given, as an agent does it."""
    first = house.answered(caller, engine, asked(BOTH, tools=TOOLS, stream=stream))
    one, two = first.seen.calls
    results = (Result(one.id, one.name, "18 °C"), Result(two.id, two.name, "noon"))
    turns = (user(BOTH), Turn("assistant", (one, two)), Turn("tool", results))
    second = house.answered(caller, engine, Ask(turns, tools=TOOLS, stream=stream))
    assert second.seen.text == "The tools said: 18 °C; noon"
    heard = hear(engine.dialect(caller.surface), second.said)
    assert [name for _, name in heard.calls] == ["weather", "time"]
    assert [text for _, text in heard.results] == ["18 °C", "noon"]


@SHAPES
@pairs()
def test_a_text_of_the_assistant_may_stand_before_its_calls(
    house: House, caller: Caller, engine: Engine, stream: bool
) -> None:
    call = Call("weather", {"city": "Köln"}, "call_0001")
    turns = (
        user("weather?"),
        Turn("assistant", ("I shall look.", call)),
        Turn("tool", (Result("call_0001", "weather", "18 °C"),)),
        user("say:Thanks."),
    )
    answer = house.answered(caller, engine, Ask(turns, tools=TOOLS, stream=stream))
    assert answer.seen.text == "Thanks."
    heard = hear(engine.dialect(caller.surface), answer.said)
    assert ("assistant", "I shall look.") in heard.texts
    assert [name for _, name in heard.calls] == ["weather"]
    assert [text for _, text in heard.results] == ["18 °C"]


# What may be asked about tools


@SHAPES
@pairs(needs="tool_choice")
def test_tools_can_be_forbidden(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    answer = house.answered(caller, engine, asked("say:no call:weather", tools=TOOLS, choice="none", stream=stream))
    assert (answer.seen.text, answer.seen.calls) == ("no call:weather", [])
    assert answer.seen.finish == caller.words.stop


@SHAPES
@pairs(needs="tool_choice")
def test_a_call_can_be_required(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """Ollama cannot be made to: it is asked without, and the caller is told."""
    warns = ("tool_choice",) if engine.kind == "ollama" else ()
    answer = house.answered(caller, engine, asked("say:no", tools=TOOLS, choice="required", stream=stream), warns=warns)
    assert [name for name, _ in answer.seen.named_calls] == ([] if engine.kind == "ollama" else ["weather"])


@SHAPES
@pairs(needs="tool_choice")
def test_one_tool_can_be_required(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """Ollama gets no other tool, and calls it if it likes."""
    warns = ("tool_choice",) if engine.kind == "ollama" else ()
    answer = house.answered(caller, engine, asked(BOTH, tools=TOOLS, choice="time", stream=stream), warns=warns)
    assert answer.seen.named_calls == CALLS[1:]
    is_vllms_own = engine.kind in ("vllm", "openai", "llamacpp") and caller.name == "chat"
    assert answer.seen.finish == (caller.words.stop if is_vllms_own else caller.words.tools)


@SHAPES
@pairs(needs="parallel")
def test_one_call_at_a_time_can_be_asked_for(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    warns = ("parallel_tool_calls",) if engine.kind == "ollama" else ()
    answer = house.answered(caller, engine, asked(BOTH, tools=TOOLS, parallel=False, stream=stream), warns=warns)
    assert answer.seen.named_calls == (CALLS if engine.kind == "ollama" else CALLS[:1])


@pytest.mark.parametrize("engine", KINDS, ids=lambda engine: engine.name)
def test_a_choice_in_an_ollama_request_goes_to_whom_it_means_something(house: House, engine: Engine) -> None:
    """Ollama's dialect has no such field; it is one of those that an engine may know."""
    caller = CALLERS_BY_NAME["ollama"]
    warns = {VLLM: (), OLLAMA: (), ANTHROPIC: ("tool_choice", "parallel_tool_calls")}[engine]
    answer = house.answered(
        caller, engine, asked("say:no", tools=TOOLS), warns=warns, tool_choice="required", parallel_tool_calls=False
    )
    assert [name for name, _ in answer.seen.named_calls] == (["weather"] if engine is VLLM else [])


@pairs(needs="tool_choice")
def test_a_tool_that_is_not_there_cannot_be_required(house: House, caller: Caller, engine: Engine) -> None:
    assert house.refused(caller, engine, asked("say:no", tools=TOOLS, choice="nothing"))
