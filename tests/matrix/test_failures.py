"""What goes wrong at the engine, told in the caller's own shape: before the first byte, in the middle, at the end."""

import pytest

from mrproxy.link.records import JournalRecord
from tests.matrix.asks import Picture, asked
from tests.matrix.callers.caller import Caller
from tests.matrix.engines import ANTHROPIC, BUSY, ENGINES, KINDS, Engine
from tests.matrix.house import Answer, House, Json
from tests.matrix.pairs import ALL_CALLERS, CALLERS, SHAPES, pairs

pytestmark = pytest.mark.slow

TEXT = "one two three four five six"
TEXT_OF_3 = "one two three"
MIDSTREAM = ("error_event", "truncate", "reset_stream")


def is_over(truth: Json) -> bool:
    return truth["state"] in ("done", "aborted")


# Before the first byte


@pytest.mark.parametrize("fault", ["status_500", "status_503", "html", "refuse", "malformed"])
@SHAPES
@pairs(KINDS, callers=ALL_CALLERS)
def test_a_failure_before_the_first_byte_is_an_error_answer(
    house: House, caller: Caller, engine: Engine, stream: bool, fault: str
) -> None:
    """With a status that SDKs know; engines' own words are quoted, pages are not."""
    with house.struck(engine, fault):
        answer = house.ask(caller, engine, asked(f"say:{TEXT}", stream=stream))
    expected = {"status_500": 500, "status_503": 503}.get(fault, 502)
    assert answer.status == expected, answer.body
    message = read_error_answer(caller, answer)
    if fault.startswith("status_"):
        assert message == f"mock fault: {fault}"
    assert ("retry-after" in answer.headers) is (expected == 503)
    assert not answer.record.completion_tokens


@SHAPES
@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_anthropics_overload_is_told(house: House, caller: Caller, stream: bool) -> None:
    """With its own status, which SDKs take for one of those that pass."""
    with house.struck(ANTHROPIC, "status_529"):
        answer = house.ask(caller, ANTHROPIC, asked(f"say:{TEXT}", stream=stream))
    assert (answer.status, answer.headers["retry-after"]) == (529, "1")
    assert read_error_answer(caller, answer) == "mock fault: status_529"


@pytest.mark.parametrize("engine", KINDS, ids=lambda engine: engine.name)
@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_a_limit_of_the_engine_is_told_with_its_patience(house: House, caller: Caller, engine: Engine) -> None:
    busy = BUSY[caller.name, engine.name]
    with house.struck(busy, "status_429"):
        answer = house.ask(caller, busy, asked(f"say:{TEXT}", stream=True))
    assert answer.status == 429
    assert answer.headers["retry-after"] == "1"
    assert read_error_answer(caller, answer) == "mock fault: status_429"


@SHAPES
@pairs(ENGINES)
def test_a_request_that_the_engine_refuses_is_the_callers_mistake(
    house: House, caller: Caller, engine: Engine, stream: bool
) -> None:
    """Base64 that is none: nobody here looks into it, so the engine does."""
    broken = Picture(url="data:image/png;base64,AAAA=AAAA")
    if caller.name == "messages":
        ask = asked("x", stream=stream)
        body = caller.write(engine.model, ask)
        source = {"type": "base64", "media_type": "image/png", "data": "AAAA=AAAA"}
        body["messages"][0]["content"] = [{"type": "image", "source": source}]
        answer = house.judge(engine, house.post(caller.path, body))
    elif caller.name == "ollama":
        answer = house.ask(caller, engine, asked("x", Picture(url="AAAA=AAAA"), stream=stream))
    else:
        answer = house.ask(caller, engine, asked("x", broken, stream=stream))
    assert answer.status == 400
    assert read_error_answer(caller, answer)
    assert (answer.record.prompt_tokens or 0, answer.record.completion_tokens or 0) == (0, 0)


# In the middle


@pytest.mark.parametrize("fault", MIDSTREAM)
@pairs(callers=ALL_CALLERS)
def test_a_failure_in_the_middle_is_an_event(house: House, caller: Caller, engine: Engine, fault: str) -> None:
    """What was said stands, then the stream says in its own way that it failed, and does not end as if all was well."""
    with house.struck(engine, fault, after_tokens=3):
        answer = house.ask(caller, engine, asked(f"say:{TEXT}", stream=True))
    assert answer.status == 200
    seen = caller.read_stream(answer.body)
    assert seen.text in (TEXT_OF_3, f"{TEXT_OF_3} ")
    assert seen.error
    assert seen.finish is None
    if fault == "error_event":
        assert "mock fault: error_event" in seen.error
    check_partial_counts(house, caller, engine, answer)


@pairs(KINDS)
def test_a_failure_while_thinking_is_an_event(house: House, caller: Caller, engine: Engine) -> None:
    with house.struck(engine, "truncate", after_tokens=2):
        answer = house.ask(caller, engine, asked(f"say:{TEXT}", thinking=True, limit=2000, stream=True))
    seen = caller.read_stream(answer.body)
    assert seen.error
    assert seen.text in ("", "one two")
    check_partial_counts(house, caller, engine, answer)


@pytest.mark.parametrize("fault", MIDSTREAM)
@pairs(KINDS)
def test_a_failure_before_the_first_token_is_told_too(house: House, caller: Caller, engine: Engine, fault: str) -> None:
    """As an error answer while nothing has been said, else as an event."""
    with house.struck(engine, fault, after_tokens=0):
        answer = house.ask(caller, engine, asked(f"say:{TEXT}", stream=True))
    if answer.status == 200:
        assert caller.read_stream(answer.body).error
    else:
        assert answer.status in (500, 502)
        assert read_error_answer(caller, answer)


# The caller leaves


@pairs(callers=ALL_CALLERS)
def test_a_caller_that_leaves_is_billed_what_was_made(house: House, caller: Caller, engine: Engine) -> None:
    """The engine is left as well, at once: it makes no token for nobody."""
    with (
        house.struck(engine, "hang_stream", after_tokens=5),
        house.asking(caller, engine, asked(f"say:{TEXT}", stream=True)) as response,
    ):
        assert response.status_code == 200
        request_id = response.headers["x-request-id"]
        body = b""
        for piece in response.iter_raw():
            body += piece
            if caller.read_stream(body).text.startswith("one two three four five"):
                break
    truth = house.eventual_truth_of(engine, request_id, is_over)
    record = house.record_of(request_id)
    assert (truth["state"], truth["completion_tokens"]) == ("aborted", 5)
    assert record.completion_tokens == 5
    check_partial(engine, record, truth)


@pairs(KINDS, callers=ALL_CALLERS)
def test_a_caller_that_leaves_before_the_answer_frees_the_engine(house: House, caller: Caller, engine: Engine) -> None:
    ask = asked("say:" + "long " * 500, limit=2000)
    with house.struck(engine, "slow"), house.leaving(caller, engine, ask) as truth:
        request_id = truth["request_id"]
    assert house.eventual_truth_of(engine, request_id, is_over)["state"] == "aborted"
    assert house.record_of(request_id).status in (0, 499)


def read_error_answer(caller: Caller, answer: Answer) -> str:
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    return caller.read_error(answer.status, answer.body)


def check_partial_counts(house: House, caller: Caller, engine: Engine, answer: Answer) -> None:
    truth = house.eventual_truth_of(engine, answer.record.request_id, is_over)
    assert answer.record.completion_tokens == truth["completion_tokens"]
    check_partial(engine, answer.record, truth)


def check_partial(engine: Engine, record: JournalRecord, truth: Json) -> None:
    """Who is asked in Anthropic's dialect says at once how long the prompt was; of the others their tokenizers are
    asked, or they themselves once more. Only of a stranger it is estimated."""
    assert record.prompt_tokens
    if engine.kind == "openai":
        assert record.usage_state in ("partial", "estimated")
    else:
        assert (record.usage_state, record.prompt_tokens) == ("counted", truth["prompt_tokens"])
