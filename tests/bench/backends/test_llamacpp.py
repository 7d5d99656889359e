"""llama.cpp's own routes: its tokenizer counts what its chats count."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.backends.build import id_source
from bench.backends.llamacpp import Llamacpp
from bench.backends.settings import EngineSettings
from bench.backends.vllm import Vllm
from bench.backends.work import Counts, Reply, Work
from bench.http1 import Request

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def ask(path, body=None, method=b"POST"):
    settings = EngineSettings("llamacpp", ("m",))
    made = Llamacpp(settings, Vllm(settings, id_source(1), lambda: Counts(0, 0, 0, 0)))
    return made.answer(Request(method, path, b"", b"" if body is None else json.dumps(body).encode()), 1)


def read(outcome, status=200):
    assert isinstance(outcome, Reply)
    assert outcome.status == status
    return json.loads(outcome.data.split(b"\r\n\r\n", 1)[1])


def tokens_of(text):
    return len(read(ask(b"/tokenize", {"content": text, "add_special": True}))["tokens"])


@given(
    texts=st.lists(st.text(max_size=30), min_size=1, max_size=3),
    fields=st.sampled_from([{}, {"tools": TOOLS}, {"chat_template_kwargs": {"a": 1}, "reasoning_effort": "low"}]),
)
def test_a_templated_chat_has_as_many_tokens_as_its_answer_says(texts, fields):
    chat = {"model": "m", "messages": [{"role": "user", "content": text} for text in texts]} | fields
    work = ask(b"/v1/chat/completions", chat | {"stream": True, "max_tokens": 3})
    assert isinstance(work, Work)
    assert tokens_of(read(ask(b"/apply-template", chat))["prompt"]) == work.prompt_tokens


@given(st.text(min_size=1, max_size=60))
def test_a_completions_prompt_has_as_many_tokens_as_its_answer_says(text):
    work = ask(b"/v1/completions", {"model": "m", "prompt": text})
    assert isinstance(work, Work)
    assert tokens_of(text) == work.prompt_tokens


def test_the_tokenizer_does_as_it_is_told():
    assert read(ask(b"/tokenize", {}))["tokens"] == []
    assert len(read(ask(b"/tokenize", {"content": "a" * 40}))["tokens"]) == 9  # without BOS
    assert len(read(ask(b"/tokenize", {"content": ["a" * 40, 7], "add_special": True}))["tokens"]) == 11
    pieces = read(ask(b"/tokenize", {"content": "a" * 8, "add_special": True, "with_pieces": True}))["tokens"]
    assert [set(piece) for piece in pieces] == [{"id", "piece"}] * 2


@pytest.mark.parametrize(
    ("path", "body"),
    [(b"/tokenize", {"content": 5}), (b"/apply-template", {}), (b"/apply-template", {"model": "m", "messages": [{}]})],
)
def test_what_it_cannot_read_it_refuses(path, body):
    assert "error" in read(ask(path, body), 400)


def test_everything_else_is_as_before():
    assert read(ask(b"/props", method=b"GET"))["default_generation_settings"]["n_ctx"]
    assert read(ask(b"/v1/models", method=b"GET"))["data"][0]["id"] == "m"
    assert ask(b"/v1/chat/completions/input_tokens", {"model": "m"}).status == 404
