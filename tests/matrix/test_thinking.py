"""Thinking over every pair: asked for, forbidden, more or less of it, shown before the rest, and given back."""

import pytest

from tests.matrix.asks import Ask, Call, Result, Thought, Turn, asked, user
from tests.matrix.callers.caller import Caller
from tests.matrix.callers.messages import BUDGET
from tests.matrix.engines import ENGINES, GPT_OSS, REASONING, Engine
from tests.matrix.heard import hear
from tests.matrix.house import House
from tests.matrix.pairs import CALLERS, SHAPES, pairs
from tests.matrix.test_tools import TOOLS

pytestmark = pytest.mark.slow

ALL = (*ENGINES, GPT_OSS)


def thinking_of(caller: Caller, engine: Engine, wish: bool | str) -> tuple[str, tuple[str, ...]]:
    """How the engine is told to think, in its own word (empty: not at all), and what has to be warned of.

    Only Anthropic's callers give a bound, and OpenAI's chats have no plain "on"."""
    if engine.lane(caller.surface, asked("", thinking=wish)) == "straight":
        return spoken(caller, engine, wish), ()
    effort = wish if isinstance(wish, str) else "medium" if caller.name == "responses" else ""
    has_budget = caller.name == "messages" and wish is True
    bound = ("budget",) if has_budget else ()
    match engine.kind:
        case "vllm":
            return effort or "on", bound
        case "llamacpp":
            return effort or "on", ()
        case "openai":
            return effort, bound if effort else ("thinking is left", *bound)
        case "ollama" if engine is GPT_OSS:
            return effort or "on", bound
        case "ollama":
            return "on", ("effort",) if effort else bound
    is_switched_on = caller.name in ("chat", "ollama") and not (caller.name == "chat" and effort)
    return (effort or "adaptive") if is_switched_on else "", ()


def spoken(caller: Caller, engine: Engine, wish: bool | str) -> str:
    """The same where the engine is asked in the caller's own words."""
    if isinstance(wish, str):
        return wish
    match caller.name:
        case "messages":
            return f"budget {BUDGET}"
        case "responses":
            return "medium"
    return "on"


@pytest.mark.parametrize("wish", [True, "high"], ids=["on", "high"])
@SHAPES
@pairs(ALL)
def test_thinking_comes_first_and_apart(
    house: House, caller: Caller, engine: Engine, stream: bool, wish: bool | str
) -> None:
    effort, warns = thinking_of(caller, engine, wish)
    ask = asked("say:The answer.", thinking=wish, limit=2000, stream=stream)
    answer = house.answered(caller, engine, ask, warns=warns)
    assert answer.seen.text == "The answer."
    assert answer.seen.thinking == (f"Thinking ({effort}): the user said 15 characters." if effort else "")
    assert answer.seen.finish == caller.words.stop
    if stream:
        assert answer.seen.order == (["thinking", "text"] if effort else ["text"])


@SHAPES
@pairs(ALL)
def test_thinking_can_be_forbidden(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    answer = house.answered(caller, engine, asked("say:At once.", thinking=False, stream=stream))
    assert (answer.seen.thinking, answer.seen.text) == ("", "At once.")


@SHAPES
@pairs(ALL)
def test_thinking_then_text_then_calls(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    effort, warns = thinking_of(caller, engine, True)
    text = 'say:I shall look.\ncall:weather{"city": "Köln"} call:time{"zone": "CET"}'
    ask = asked(text, tools=TOOLS, thinking=True, limit=2000, stream=stream)
    answer = house.answered(caller, engine, ask, warns=warns)
    assert bool(answer.seen.thinking) is bool(effort)
    assert answer.seen.text == "I shall look."
    assert answer.seen.named_calls == [("weather", {"city": "Köln"}), ("time", {"zone": "CET"})]
    assert answer.seen.finish == caller.words.tools
    if stream:
        assert answer.seen.order == [*(["thinking"] if effort else []), "text", "call"]


@pytest.mark.parametrize("field", REASONING)
@SHAPES
@pytest.mark.parametrize("caller", [each for each in CALLERS if each.name != "chat"], ids=lambda caller: caller.name)
def test_thinking_is_found_in_whichever_field_it_comes(house: House, caller: Caller, field: str, stream: bool) -> None:
    """vLLM has called it `reasoning_content` and `reasoning`; some servers say both."""
    _, warns = thinking_of(caller, REASONING[field], True)
    ask = asked("say:Yes.", thinking=True, limit=2000, stream=stream)
    answer = house.answered(caller, REASONING[field], ask, warns=warns)
    assert answer.seen.thinking.endswith(": the user said 8 characters.")
    assert answer.seen.thinking.count("Thinking (") == 1


# Turns before this one


@SHAPES
@pairs()
def test_what_was_thought_before_a_call_comes_back(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """As an agent sends it: thinking, call and result. Anthropic takes back what it signed, OpenAI nothing."""
    effort, warns = thinking_of(caller, engine, True)
    question = user('call:weather{"city": "Köln"}')
    ask = Ask((question,), tools=TOOLS, thinking=True, limit=2000, stream=stream)
    first = house.answered(caller, engine, ask, warns=warns).seen
    assert bool(first.thinking) is bool(effort)
    thought = Thought(first.thinking or "Hm.", first.signature)
    turns = (
        question,
        Turn("assistant", (thought, *first.calls)),
        Turn("tool", (Result(first.calls[0].id, "weather", "18 °C"),)),
    )
    is_lost = engine.kind == "openai" or (engine.kind == "anthropic" and not thought.signature)
    again = house.answered(caller, engine, ask.but(turns=turns), warns=(*warns, "thinking") if is_lost else warns)
    assert again.seen.text == "The tools said: 18 °C"
    heard = hear(engine.dialect(caller.surface, ask.but(turns=turns)), again.said)
    is_straight = again.record.lane == "straight"
    assert heard.thoughts == ([] if is_lost and not is_straight else [thought.text])


@pairs()
def test_a_call_that_was_thought_about_elsewhere(house: House, caller: Caller, engine: Engine) -> None:
    """A conversation may move to another engine; what it cannot take is left out, and said."""
    call = Call("weather", {"city": "Köln"}, "toolu_0001")
    turns = (
        user("weather?"),
        Turn("assistant", (Thought("Elsewhere.", "c2lnbmVk"), call)),
        Turn("tool", (Result(call.id, "weather", "18 °C"),)),
    )
    answer = house.ask(caller, engine, Ask(turns, tools=TOOLS))
    if engine.kind == "anthropic" and caller.name == "messages":
        assert answer.status == 400  # its own signature is looked at, straight
        assert "signature" in caller.read_error(400, answer.body)
    else:
        assert answer.status == 200
        assert caller.read_document(answer.body).text == "The tools said: 18 °C"
