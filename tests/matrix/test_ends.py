"""How answers end, and what they say they cost, over every pair."""

import pytest

from tests.matrix.asks import asked
from tests.matrix.callers.caller import Caller
from tests.matrix.engines import ANTHROPIC, Engine
from tests.matrix.house import House
from tests.matrix.pairs import ALL_CALLERS, CALLERS, SHAPES, pairs
from tests.matrix.test_thinking import thinking_of
from tests.matrix.test_tools import TOOLS

pytestmark = pytest.mark.slow


@SHAPES
@pairs(callers=ALL_CALLERS)
def test_an_answer_is_cut_at_its_bound(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    answer = house.answered(caller, engine, asked("say:one two three", limit=2, stream=stream))
    assert answer.seen.text == "one two"
    assert answer.seen.finish == caller.words.length
    assert answer.record.completion_tokens == 2


@SHAPES
@pairs()
def test_a_call_is_cut_at_the_bound(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """What is left of it is no call that could be made; that it was cut off is what counts."""
    ask = asked('say:Look.\ncall:weather{"city": "Köln"}', tools=TOOLS, limit=5, stream=stream)
    answer = house.answered(caller, engine, ask)
    assert answer.seen.text.startswith("Look.")
    assert answer.seen.finish == caller.words.length


@SHAPES
@pairs(callers=ALL_CALLERS)
def test_an_answer_ends_before_a_stop_sequence(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    ask = asked("say:one two three", stops=("four", "two"), stream=stream)
    answer = house.answered(caller, engine, ask)
    if answer.truth["path"] == "/v1/responses":
        assert answer.seen.text == "one two three"  # the API has no such wish, nor has who serves it straight
        return
    assert answer.seen.text == "one "
    tells = engine.dialect(caller.surface, ask) == "messages" or (engine.kind != "ollama")
    assert answer.seen.finish == (caller.words.stop_sequence if tells else caller.words.stop)


@SHAPES
@pairs()
def test_cached_and_reasoning_tokens_are_told(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """As far as the engine counts them and the caller's dialect has a place for them."""
    _, warns = thinking_of(caller, engine, True)
    ask = asked("say:cached, mostly.", thinking=True, limit=2000, stream=stream)
    answer = house.answered(caller, engine, ask, warns=warns)
    is_told = engine.dialect(caller.surface, ask) != "ollama" and not is_ollamas_chat(caller, engine)
    for name in ("cached_tokens", "reasoning_tokens"):
        told = getattr(answer.seen, name) or 0
        assert told == (answer.truth[name] if is_told and name not in caller.hides else 0), name
    if engine.dialect(caller.surface, ask) == "messages" or engine.kind == "vllm":
        assert answer.truth["cached_tokens"] > 0


def is_ollamas_chat(caller: Caller, engine: Engine) -> bool:
    return engine.kind == "ollama" and caller.name == "chat"


@pairs(callers=ALL_CALLERS)
def test_usage_that_was_not_asked_for_is_still_known(house: House, caller: Caller, engine: Engine) -> None:
    """Only OpenAI's chats can go without; the journal has it all the same."""
    body = caller.write(engine.model, asked("say:one two three", stream=True))
    body.pop("stream_options", None)
    answer = house.judge(engine, house.post(caller.path, body))
    seen = caller.read_stream(answer.body)
    assert seen.text == "one two three"
    assert (seen.completion_tokens is None) is (caller.name in ("chat", "completions"))
    true_counts = (answer.truth["prompt_tokens"], answer.truth["completion_tokens"])
    assert (answer.record.prompt_tokens, answer.record.completion_tokens) == true_counts


@SHAPES
@pytest.mark.parametrize(
    "caller", [each for each in CALLERS if each.name != "messages"], ids=lambda caller: caller.name
)
def test_a_bound_that_anthropic_must_have_is_made_up(house: House, caller: Caller, stream: bool) -> None:
    answer = house.answered(caller, ANTHROPIC, asked("say:Yes.", limit=None, stream=stream), warns=("max_tokens",))
    assert answer.seen.text == "Yes."
    assert answer.said["max_tokens"] == 8192


@SHAPES
@pairs()
def test_answers_are_named_after_the_request(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """Where it is ours to name them: SDKs, logs and the journal can be brought together."""
    answer = house.answered(caller, engine, asked("say:Yes.", stream=stream))
    if answer.record.lane == "translating" and caller.surface != "ollama":
        assert answer.record.request_id in answer.seen.id.replace("-", "")
