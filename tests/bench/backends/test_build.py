import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.backends.build import build_dialect, build_server, id_source
from bench.backends.engine import Engine
from bench.backends.settings import EngineSettings
from bench.backends.stats import Stats
from bench.backends.work import Reply, Timing, Work
from bench.http1 import Request
from bench.reactor import Reactor

from .engine_bench import HandTimers


def test_ids_repeat_under_a_seed():
    one, same, other = id_source(1), id_source(1), id_source(2)
    first = [one() for _ in range(3)]
    assert first == [same() for _ in range(3)]
    assert first != [other() for _ in range(3)]
    assert all(len(made) == 16 for made in first)


def test_a_server_listens_on_any_port_and_closes():
    for kind in ("vllm", "llamacpp", "ollama", "anthropic"):
        reactor = Reactor()
        server = build_server(EngineSettings(kind, ("m",)), reactor)
        assert server.listen("127.0.0.1", 0) > 0
        server.close()
        reactor.close()


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def replaced(value, path, junk):
    if not path:
        return junk
    made = value.copy()
    made[path[0]] = replaced(value[path[0]], path[1:], junk)
    return made


TOOL = {"name": "a", "input_schema": {"type": "object", "properties": {"b": {"type": "string", "pattern": "x"}}}}
BODY = {
    "model": "m",
    "max_tokens": 2000,
    "stream": True,
    "prompt": "say:hi",
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "call:a"}]}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "call:a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            ],
        },
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": {"name": "a", "arguments": "{}"}}]},
        {"role": "tool", "content": "sunny", "tool_call_id": "1"},
    ],
    "tools": [TOOL | {"type": "function", "function": {"name": "a", "parameters": TOOL["input_schema"]}}],
    "tool_choice": {"type": "function", "function": {"name": "a"}},
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"anyOf": [{"type": "array"}]}}},
    "options": {"num_predict": 5, "stop": ["x"], "num_ctx": 8192},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "reasoning": {"effort": "low"},
    "text": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "stop": ["x"],
}
SAID = [
    {"role": "user", "content": [{"type": "text", "text": "call:a"}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "a", "input": {}}]},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "b"}]}],
    },
]
ANTHROPIC = {"model": "m", "max_tokens": 2000, "messages": SAID, "tools": [TOOL], "thinking": BODY["thinking"]}
ANTHROPIC |= {
    "stop_sequences": ["x"],
    "output_config": {"effort": "low", "format": {"schema": {}}},
    "system": "be brief",
}
OLLAMA_SAID = [
    {"role": "user", "content": "call:a", "images": ["aGk="]},
    {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": {"b": 1}}}]},
    {"role": "tool", "content": "sunny", "tool_name": "a"},
]
OLLAMA = BODY | {"messages": OLLAMA_SAID, "think": "low", "format": {"type": "object"}}
CASES = [(body, place) for body in (BODY, ANTHROPIC, OLLAMA) for place in places(body)]
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/messages/count_tokens")
PATHS += ("/api/chat", "/api/generate", "/v1/embeddings", "/api/embed")
JUNK = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.just([]) | st.just({}) | st.just([{}])


@pytest.mark.parametrize("kind", ["vllm", "ollama", "anthropic"])
@settings(max_examples=100, deadline=None)
@given(path=st.sampled_from(PATHS), case=st.sampled_from(CASES), junk=JUNK)
def test_a_request_of_any_shape_is_answered_or_refused(kind, path, case, junk):
    made = EngineSettings(kind, ("m",), native=() if kind == "anthropic" else ("messages", "responses"))
    dialect = build_dialect(made, Engine(made, HandTimers(), Stats()), Stats())
    head = b"post\r\nx-api-key: k\r\nanthropic-version: 2023-06-01"
    outcome = dialect.answer(Request(b"POST", path.encode(), head, json.dumps(replaced(*case, junk)).encode()), 1)
    if isinstance(outcome, Work):
        outcome.closing(Timing(0), 1)
        outcome.whole(Timing(0), outcome.completion_tokens)
    else:
        assert isinstance(outcome, Reply)
