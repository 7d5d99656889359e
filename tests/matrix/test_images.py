"""Pictures over every pair: by their bytes, by a URL, several of them, and those that are not there."""

import pytest

from tests.matrix.asks import PNG, Picture, asked
from tests.matrix.callers.caller import Caller
from tests.matrix.engines import KINDS, NEW_OLLAMA, Engine
from tests.matrix.house import House
from tests.matrix.pairs import SHAPES, pairs

pytestmark = pytest.mark.slow

HERE = Picture(data=PNG)
OLLAMAS = (KINDS[1], NEW_OLLAMA)


@SHAPES
@pairs()
def test_a_picture_is_seen(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    answer = house.answered(caller, engine, asked("What is it?", HERE, stream=stream))
    assert answer.seen.text == f"Images: 1 ({len(PNG)} bytes). You said: What is it?"


@SHAPES
@pairs()
def test_several_pictures_among_texts_are_seen_in_order(
    house: House, caller: Caller, engine: Engine, stream: bool
) -> None:
    small = Picture(data=PNG[:50])
    answer = house.answered(caller, engine, asked("One", HERE, "two", small, "which?", stream=stream))
    assert answer.seen.text.startswith(f"Images: 2 ({len(PNG)} bytes, 50 bytes). You said: ")
    assert answer.seen.text.endswith("which?")


@SHAPES
@pairs()
def test_a_picture_on_the_web_is_seen(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """Fetched here for engines that take bytes only; the others get the URL.

    Ollama's dialect has no URLs."""
    path = f"/{caller.name}-{engine.name}-{stream}.png"
    ask = asked("What is it?", Picture(url=house.site.url + path), stream=stream)
    if caller.name == "ollama":
        assert house.refused(caller, engine, ask)
        return
    answer = house.answered(caller, engine, ask)
    is_fetched = engine.kind == "ollama"
    size = f"{len(PNG)} bytes" if is_fetched else "a URL"
    assert answer.seen.text == f"Images: 1 ({size}). You said: What is it?"
    assert house.site.asked.count(path) == is_fetched


@SHAPES
@pairs(OLLAMAS)
def test_a_picture_that_is_not_there_is_the_callers_mistake(
    house: House, caller: Caller, engine: Engine, stream: bool
) -> None:
    ask = asked("What is it?", Picture(url=f"{house.site.url}/nothing"), stream=stream)
    assert house.refused(caller, engine, ask)


@SHAPES
@pairs()
def test_what_is_no_picture_is_refused(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """By us or by the engine, in the caller's shape. What a mock of Anthropic's takes for a URL is its own."""
    answer = house.ask(caller, engine, asked("What is it?", Picture(url="file:///etc/passwd"), stream=stream))
    if engine.lane(caller.surface) == "straight" and caller.name == "messages" and engine.kind != "ollama":
        assert answer.status == 200
    else:
        assert answer.status == 400
        assert caller.read_error(400, answer.body)
