"""What only completions have: raw prompts, several prompts, several answers, token ids; what no chat can be told."""

import json
from typing import Any

import pytest

from tests.matrix.asks import PNG, Ask, Picture, Turn, asked, user
from tests.matrix.callers.texts import Completions, Generate
from tests.matrix.engines import ANTHROPIC, ENGINES, KINDS, OLLAMA, VLLM, Engine
from tests.matrix.heard import hear
from tests.matrix.house import Answer, House
from tests.matrix.pairs import SHAPES
from tests.matrix.test_output import SCHEMA

pytestmark = pytest.mark.slow

COMPLETIONS, GENERATE = Completions(), Generate()
EACH = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
EACH_KIND = pytest.mark.parametrize("engine", KINDS, ids=lambda engine: engine.name)


@SHAPES
@EACH
def test_a_prompt_to_generate_is_a_chat_where_it_must_be(house: House, engine: Engine, stream: bool) -> None:
    turns = (Turn("system", ("Be brief.",)), user("What is it?", Picture(data=PNG)))
    answer = house.answered(GENERATE, engine, Ask(turns, stream=stream))
    assert answer.seen.text == f"Images: 1 ({len(PNG)} bytes). You said: What is it?"
    if engine.kind == "ollama":
        assert answer.said["system"] == "Be brief."
    else:
        texts = hear(engine.dialect("ollama"), answer.said).texts
        assert texts == [("system", "Be brief."), ("user", "What is it?")]


@SHAPES
@EACH
def test_generate_knows_thinking_and_schemas(house: House, engine: Engine, stream: bool) -> None:
    warns = ("thinking is left",) if engine.kind == "openai" else ()
    answer = house.answered(
        GENERATE, engine, asked("Where?", thinking=True, output=SCHEMA, limit=2000, stream=stream), warns=warns
    )
    assert answer.seen.thinking.startswith("Thinking (") is (engine.kind != "openai")
    assert json.loads(answer.seen.text).keys() == {"city", "days"}


@SHAPES
@EACH
def test_a_raw_prompt_is_a_completion_where_there_is_one(house: House, engine: Engine, stream: bool) -> None:
    warns = ("chat message",) if engine.kind == "anthropic" else ()
    answer = house.answered(GENERATE, engine, asked("say:Once.", stream=stream), warns=warns, raw=True)
    assert answer.seen.text == "Once."
    path = {"ollama": "/api/generate", "anthropic": "/v1/messages"}.get(engine.kind, "/v1/completions")
    assert answer.truth["path"] == path


@SHAPES
@EACH
def test_several_prompts_have_several_answers(house: House, engine: Engine, stream: bool) -> None:
    """Ollama and Anthropic have one answer to one prompt."""
    body = COMPLETIONS.write(engine.model, asked("say:", stream=stream)) | {"prompt": ["say:one", "say:two three"]}
    answer = house.judge(engine, house.post(COMPLETIONS.path, body))
    if engine.kind in ("ollama", "anthropic"):
        assert answer.status == 400
        assert COMPLETIONS.read_error(400, answer.body)
        return
    assert texts_by_choice(answer, stream) == ["one", "two three"]
    check_counts(answer)


@SHAPES
@pytest.mark.parametrize("engine", [VLLM, ANTHROPIC], ids=lambda engine: engine.name)
def test_several_answers_are_refused_where_there_is_one(house: House, engine: Engine, stream: bool) -> None:
    answer = house.ask(COMPLETIONS, engine, asked("say:one", stream=stream), n=2)
    if engine is ANTHROPIC:
        assert answer.status == 400
        assert COMPLETIONS.read_error(400, answer.body)
        return
    assert texts_by_choice(answer, stream) == ["one", "one"]
    check_counts(answer)


@pytest.mark.parametrize(("name", "value"), [("prompt", [1, 2, 3]), ("echo", True), ("suffix", "end")])
def test_what_no_chat_can_be_told_is_refused(house: House, name: str, value: Any) -> None:
    assert name in house.refused(COMPLETIONS, ANTHROPIC, asked("say:one"), **{name: value})


@pytest.mark.parametrize(("name", "value"), [("template", "{{ .Prompt }}"), ("context", [1, 2])])
@EACH_KIND
def test_what_only_ollama_knows_is_refused_by_others(house: House, engine: Engine, name: str, value: Any) -> None:
    if engine is OLLAMA:
        assert house.answered(GENERATE, engine, asked("say:one"), **{name: value}).seen.text == "one"
    else:
        assert name in house.refused(GENERATE, engine, asked("say:one"), **{name: value})


def texts_by_choice(answer: Answer, stream: bool) -> list[str]:
    assert answer.status == 200, answer.body
    if not stream:
        return [choice["text"] for choice in json.loads(answer.body)["choices"]]
    texts: dict[int, str] = {}
    for line in answer.body.decode().split("\n"):
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return [texts[index] for index in sorted(texts)]


def check_counts(answer: Answer) -> None:
    record, truth = answer.record, answer.truth
    assert (record.prompt_tokens, record.completion_tokens) == (truth["prompt_tokens"], truth["completion_tokens"])
