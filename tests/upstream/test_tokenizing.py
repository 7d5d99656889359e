"""What engines are asked for the length of a prompt, and that nothing they say is taken for what it is not."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.upstream.tokenizing import (
    MAX_BODY_BYTES,
    Question,
    Reading,
    Sent,
    ask_again,
    first_question,
    is_askable,
)

KINDS = ("vllm", "llamacpp", "ollama", "openai", "anthropic")
PATHS = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/generate",
)  # fmt: skip
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": 'Grüße, "image_url"!'}]}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]
MISSING = (404, b'{"detail":"Not Found"}')


def sent(kind: str, path: str, **body: Any) -> Sent:
    return Sent(kind, path, json.dumps(body).encode())


def asked(reading: Reading, path: str) -> tuple[dict[str, Any], Callable[[int, bytes], Reading]]:
    """The body of a question, and how its answer is read."""
    assert isinstance(reading, Question)
    assert reading.path == path
    body: dict[str, Any] = json.loads(reading.body)
    return body, reading.read


# vLLM


def test_a_vllm_renders_the_request_itself() -> None:
    chat = CHAT | {"tools": TOOLS, "tool_choice": "required", "stream": True, "stream_options": {"include_usage": True}}
    body, read = asked(first_question(sent("vllm", "/v1/chat/completions", **chat)), "/v1/chat/completions/render")
    assert body == CHAT | {"tools": TOOLS, "tool_choice": "required", "return_mm_kwargs": False}
    assert read(200, b'{"request_id":"r","token_ids":[1,2,3],"features":null}') == 3


def test_an_older_vllm_tokenizes_what_its_template_makes_of_a_chat() -> None:
    chat = CHAT | {"tools": TOOLS, "temperature": 0, "stream": True, "reasoning_effort": "low", "documents": None}
    chat |= {"chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "high"}}
    _, read = asked(first_question(sent("vllm", "/v1/chat/completions", **chat)), "/v1/chat/completions/render")
    body, read = asked(read(*MISSING), "/tokenize")
    assert body == CHAT | {
        "tools": TOOLS,
        "chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "low"},
    }
    assert read(200, b'{"count":12,"max_model_len":99,"tokens":[1]}') == 12
    assert read(*MISSING) is None


def test_a_picture_is_counted_by_who_sees_it_or_not_at_all() -> None:
    for kind, route in (("vllm", "render"), ("llamacpp", "input_tokens")):
        question = first_question(sent(kind, "/v1/chat/completions", model="m", messages=PICTURE))
        _, read = asked(question, f"/v1/chat/completions/{route}")
        assert read(*MISSING) is None
        assert read(200, b'{"token_ids":[1,2],"input_tokens":2}') == 2


def test_a_prompt_that_is_cut_to_a_length_is_not_tokenized_whole() -> None:
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", {"prompt": "hi"})):
        _, read = asked(first_question(sent("vllm", path, **body, truncate_prompt_tokens=5)), f"{path}/render")
        assert read(*MISSING) is None


def test_a_vllm_renders_all_prompts_of_a_completion() -> None:
    question = first_question(sent("vllm", "/v1/completions", model="m", prompt=["a", "b"], max_tokens=3))
    body, read = asked(question, "/v1/completions/render")
    assert body == {"model": "m", "prompt": ["a", "b"], "max_tokens": 3, "return_mm_kwargs": False}
    assert read(200, b'[{"token_ids":[1,2]},{"token_ids":[3]}]') == 3


def test_texts_are_tokenized_one_after_the_other() -> None:
    _, read = asked(
        first_question(sent("vllm", "/v1/completions", model="m", prompt=["a", "ö"])), "/v1/completions/render"
    )
    body, read = asked(read(*MISSING), "/tokenize")
    assert body == {"model": "m", "prompt": "a"}
    body, read = asked(read(200, b'{"count":2}'), "/tokenize")
    assert body == {"model": "m", "prompt": "ö"}
    assert read(200, b'{"count":5}') == 7
    assert read(500, b'{"count":5}') is None


@pytest.mark.parametrize(
    ("prompt", "count"),
    [([1, 2, 3], 3), ([[1, 2], [3]], 3), ([], 0), (["a", 1], None), ([[1], "a"], None), ({"a": 1}, None), (5, None)],
)
def test_token_ids_need_no_asking(prompt: object, count: int | None) -> None:
    assert first_question(sent("llamacpp", "/v1/completions", prompt=prompt)) == count


# llama.cpp


def test_a_llamacpp_counts_the_request_itself() -> None:
    for path in ("/v1/chat/completions", "/v1/responses"):
        question = sent("llamacpp", path, **CHAT, tools=TOOLS)
        body, read = asked(first_question(question), f"{path}/input_tokens")
        assert body == json.loads(question.body)
        assert read(200, b'{"object":"response.input_tokens","input_tokens":41}') == 41


def test_an_older_llamacpp_applies_the_template_and_tokenizes_that() -> None:
    chat = CHAT | {"tools": TOOLS, "chat_template_kwargs": {"enable_thinking": False}}
    _, read = asked(
        first_question(sent("llamacpp", "/v1/chat/completions", **chat)), "/v1/chat/completions/input_tokens"
    )
    body, read = asked(read(*MISSING), "/apply-template")
    assert body == chat
    assert read(*MISSING) is None
    assert read(200, b'{"text":"<s>"}') is None
    body, read = asked(read(200, '{"prompt":"<s>Grüße"}'.encode()), "/tokenize")
    assert body == {"content": "<s>Grüße", "add_special": True, "parse_special": True}
    assert read(200, b'{"tokens":[1,2,3,4]}') == 4


def test_a_llamacpp_tokenizes_a_completions_prompt() -> None:
    body, read = asked(first_question(sent("llamacpp", "/v1/completions", model="m", prompt="hi")), "/tokenize")
    assert body == {"content": "hi", "add_special": True, "parse_special": True}
    assert read(200, b'{"tokens":[]}') == 0


# Anthropic's dialect


@pytest.mark.parametrize("kind", ["vllm", "llamacpp", "anthropic"])
def test_messages_are_counted_by_their_own_route(kind: str) -> None:
    counted = {"model": "m", "messages": CHAT["messages"], "system": "s", "tools": [], "thinking": {"type": "disabled"}}
    wanted = sent(kind, "/v1/messages", **counted, max_tokens=5, stream=True, metadata={})
    body, read = asked(first_question(wanted), "/v1/messages/count_tokens")
    assert body == counted
    assert read(200, b'{"input_tokens":9}') == 9


def test_pictures_in_messages_are_left_to_anthropic() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}
    messages = [{"role": "user", "content": [image]}]
    asked_of = [kind for kind in KINDS if first_question(sent(kind, "/v1/messages", model="m", messages=messages))]
    assert asked_of == ["anthropic"]


# The same again


@pytest.mark.parametrize(
    ("path", "body", "again", "answer"),
    [
        (
            "/api/chat",
            {"messages": [], "options": {"num_ctx": 9, "num_predict": 500}, "keep_alive": "1h", "stream": True},
            {"messages": [], "options": {"num_ctx": 9, "num_predict": 1}, "keep_alive": "1h", "stream": False},
            {"done": True, "prompt_eval_count": 31, "eval_count": 1},
        ),
        (
            "/api/generate",
            {"prompt": "hi"},
            {"prompt": "hi", "options": {"num_predict": 1}, "stream": False},
            {"done": True, "prompt_eval_count": 31},
        ),
        (
            "/v1/chat/completions",
            {"messages": [], "stream": True, "stream_options": {}, "max_completion_tokens": 9, "n": 4},
            {"messages": [], "stream": False, "max_tokens": 1},
            {"choices": [], "usage": {"prompt_tokens": 31, "completion_tokens": 1}},
        ),
        (
            "/v1/responses",
            {"input": "hi", "stream": True, "max_output_tokens": 90},
            {"input": "hi", "stream": False, "max_output_tokens": 1},
            {"object": "response", "output": [], "usage": {"input_tokens": 31, "output_tokens": 1}},
        ),
        (
            "/v1/messages",
            {"messages": [], "max_tokens": 90},
            {"messages": [], "max_tokens": 1, "stream": False},
            {"type": "message", "content": [], "usage": {"input_tokens": 30, "cache_read_input_tokens": 1}},
        ),
    ],
)
def test_the_same_request_for_one_token(
    path: str, body: dict[str, Any], again: dict[str, Any], answer: dict[str, Any]
) -> None:
    said, read = asked(ask_again(sent("ollama", path, **body)), path)
    assert said == again
    assert read(200, json.dumps(answer).encode()) == 31
    assert read(503, json.dumps(answer).encode()) is None


def test_an_ollama_that_had_the_prompt_cached_and_says_nothing_of_it_is_not_believed() -> None:
    _, read = asked(ask_again(sent("ollama", "/api/chat", messages=[])), "/api/chat")
    assert read(200, b'{"done":true,"eval_count":1}') is None
    assert read(200, b'{"done":true,"prompt_eval_count":0,"eval_count":1}') is None


# What is asked of whom


def test_strangers_and_clouds_are_not_paid_to_count() -> None:
    for path in PATHS:
        for kind in KINDS:
            again = ask_again(sent(kind, path, model="m"))
            assert (again is not None) == (kind in ("vllm", "llamacpp", "ollama"))
    assert first_question(sent("openai", "/v1/chat/completions", **CHAT)) is None
    assert first_question(sent("ollama", "/v1/messages", **CHAT)) is None
    assert first_question(sent("vllm", "/v1/responses", input="hi")) is None


@given(
    kind=st.sampled_from(KINDS),
    path=st.sampled_from((*PATHS, "/v1/embeddings", "/api/embed", "/v1/messages/count_tokens", "")),
    may_ask_again=st.booleans(),
)
def test_what_is_said_to_be_askable_is_asked(kind: str, path: str, may_ask_again: bool) -> None:
    prompt = sent(kind, path, model="m", prompt="hi", messages=CHAT["messages"], input="hi")
    questions = [first_question(prompt), *([ask_again(prompt)] if may_ask_again else [])]
    assert is_askable(prompt, may_ask_again=may_ask_again) == any(question is not None for question in questions)
    assert not is_askable(prompt._replace(body=b" " * (MAX_BODY_BYTES + 1)), may_ask_again=may_ask_again)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["prompt", "messages", "model", "options", "count", "tokens", "token_ids", "input_tokens", "usage", "tools"]
    ), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
_BODIES = st.binary(max_size=20) | _JSON.map(lambda value: json.dumps(value).encode())


@given(
    kind=st.sampled_from(KINDS),
    path=st.sampled_from(PATHS),
    body=_BODIES,
    answers=st.lists(st.tuples(st.sampled_from([200, 200, 200, 404, 500]), _BODIES), min_size=6, max_size=6),
)
def test_whatever_was_sent_and_is_answered_a_count_is_a_count_or_none(
    kind: str, path: str, body: bytes, answers: list[tuple[int, bytes]]
) -> None:
    for reading in (first_question(Sent(kind, path, body)), ask_again(Sent(kind, path, body))):
        for status, answer in answers:
            if not isinstance(reading, Question):
                break
            json.loads(reading.body)
            reading = reading.read(status, answer)
        assert reading is None or isinstance(reading, Question) or reading >= 0
