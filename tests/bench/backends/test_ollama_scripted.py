"""Answers that the prompt chooses, in Ollama's words: its own routes and /v1, read back by the Ollama SDK."""

import json

import ollama
import pytest

from bench.backends.ollama import Ollama
from bench.backends.ollama_openai import OllamaWithOpenai
from bench.backends.settings import EngineSettings
from bench.backends.work import Reply, Timing, Work
from bench.http1 import Request

from .test_ollama import NoResidency, body_of

DATE = b"2026-01-01T00:00:00.000000000Z"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("one", "two")]


def ask(path, settings=None, **body):
    made = EngineSettings("ollama", ("m",), **({"tool_style": "index0"} | (settings or {})))
    dialect = OllamaWithOpenai(made, Ollama(made, NoResidency()))
    data = json.dumps({"model": "m"} | body).encode()
    return dialect.answer(Request(b"POST", path, b"", data), 1_700_000_000)


def chat(content="hi", path=b"/api/chat", **body):
    work = ask(path, messages=[{"role": "user", "content": content}], **body)
    assert isinstance(work, Work)
    return work


def lines_of(work):
    lines = [event % DATE for events in work.script for event in events]
    return [json.loads(line) for line in (*lines, *work.closing(Timing(0), work.completion_tokens).events)]


def whole_of(work):
    return json.loads(work.whole(Timing(0), work.completion_tokens).split(b"\r\n\r\n", 1)[1])


def test_each_call_is_one_line_with_an_object():
    work = chat("call:one call:two", tools=TOOLS)
    lines = lines_of(work)
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert [call["function"] for call in calls] == [
        {"index": number, "name": name, "arguments": {"city": "city"}} for number, name in enumerate(("one", "two"))
    ]
    assert len({call["id"] for call in calls}) == 2
    assert len(lines) == 3
    assert (lines[-1]["done_reason"], lines[-1]["eval_count"]) == ("stop", work.completion_tokens)
    assert work.completion_tokens > 2
    assert whole_of(work)["message"]["tool_calls"] == calls


def test_a_call_that_is_cut_off_is_never_seen():
    work = chat("call:one", tools=TOOLS, options={"num_predict": 2})
    (last,) = lines_of(work)
    assert (last["done_reason"], last["eval_count"]) == ("length", 2)
    assert "tool_calls" not in whole_of(work)["message"]


@pytest.mark.parametrize("think", [True, "high"])
def test_thinking_has_its_own_field_and_counts(think):
    work = chat(think=think)
    thinking = [line["message"]["thinking"] for line in lines_of(work) if line.get("message", {}).get("thinking")]
    assert "".join(thinking) == f"Thinking ({'on' if think is True else think}): the user said 2 characters."
    assert lines_of(work)[-1]["eval_count"] == work.completion_tokens > len(thinking) == work.reasoning_tokens
    assert whole_of(work)["message"] == {
        "role": "assistant",
        "content": "You said: hi",
        "thinking": "".join(thinking),
    }


def test_generate_thinks_sees_and_gives_a_context_back():
    work = ask(b"/api/generate", prompt="look", images=["aGVsbG8="], think=True)
    lines = lines_of(work)
    assert "".join(line["response"] for line in lines) == "Images: 1 (5 bytes). You said: look"
    assert lines[0]["thinking"] == "Think"
    assert lines[-1]["context"] == whole_of(work)["context"]


def test_format_and_stop_are_obeyed():
    assert json.loads(whole_of(chat(format=SCHEMA))["message"]["content"]) == {"city": "city"}
    stopped = whole_of(chat("say:a b c", options={"stop": ["b"]}))
    assert (stopped["message"]["content"], stopped["done_reason"]) == ("a ", "stop")


def test_what_a_model_says_may_look_like_a_template():
    assert whole_of(chat("say:100%b @@DATE@@"))["message"]["content"] == "100%b @@DATE@@"
    said = [line["message"]["content"] for line in lines_of(chat("say:100%b @@DATE@@"))]
    assert "".join(said) == "100%b @@DATE@@"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "a", "images": ["%"]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "image"}]}], "think": True},
        {"messages": [{"role": "user", "content": "a"}], "format": 5},
    ],
)
def test_refusals_are_one_string(body):
    reply = ask(b"/api/chat", **body)
    assert isinstance(reply, Reply)
    assert reply.status == 400
    assert list(body_of(reply)) == ["error"]


def test_num_ctx_is_the_requests_or_the_default():
    assert chat(options={"num_ctx": 8192}).num_ctx == 8192
    assert chat().num_ctx == chat(path=b"/v1/chat/completions").num_ctx == 4096
    models = body_of(
        Ollama(EngineSettings("ollama", ("m",)), NoResidency()).answer(Request(b"GET", b"/api/ps", b"", b""), 1)
    )
    assert models["models"][0]["context_length"] == 8192


def test_embeddings_in_fewer_dimensions():
    assert len(body_of(ask(b"/api/embed", input="a", dimensions=3))["embeddings"][0]) == 3
    assert len(body_of(ask(b"/v1/embeddings", input="a", dimensions=3))["data"][0]["embedding"]) == 3
    assert ask(b"/v1/embeddings", input=[1, 2]).status == 400


def openai_chunks(work):
    events = [*(event for events in work.script for event in events), *work.closing(Timing(0), 1).events]
    return [json.loads(event[6:]) for event in events if event != b"data: [DONE]\n\n"]


def test_v1_streams_whole_calls_at_index_zero():
    work = chat("call:one call:two", b"/v1/chat/completions", tools=TOOLS, stream=True)
    chunks = openai_chunks(work)
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "one"), (0, "two")]
    assert json.loads(calls[0]["function"]["arguments"]) == {"city": "city"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    message = whole_of(work)["choices"][0]["message"]
    assert [call["index"] for call in message["tool_calls"]] == [0, 1]


def test_v1_says_reasoning():
    work = chat("hi", b"/v1/chat/completions", reasoning_effort="low", stream=True)
    assert openai_chunks(work)[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "reasoning": "Think"}
    assert whole_of(work)["choices"][0]["message"]["reasoning"].startswith("Thinking (low)")


def test_v1_completions_stop_and_take_one_prompt():
    work = ask(b"/v1/completions", prompt="say:a b", stop="b", stream=True)
    assert "".join(chunk["choices"][0]["text"] for chunk in openai_chunks(work)) == "a "
    assert whole_of(work)["choices"][0]["text"] == "a "
    assert ask(b"/v1/completions", prompt=["a", "b"]).status == 400


def test_v1_refuses_in_openais_shape():
    reply = ask(b"/v1/chat/completions", messages=[{"role": "user", "content": 5}], tools=TOOLS)
    assert isinstance(reply, Reply)
    assert (reply.status, body_of(reply)["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_reads_calls_thinking_and_structured_answers(ollama_mock):
    client = ollama.Client(host=ollama_mock.url)
    try:
        chunks = list(
            client.chat(
                "llama3.2", [{"role": "user", "content": "call:one call:two"}], tools=TOOLS, stream=True, think=True
            )
        )
        calls = [call.function for chunk in chunks for call in chunk.message.tool_calls or ()]
        assert [(call.name, dict(call.arguments)) for call in calls] == [
            (name, {"city": "city"}) for name in ("one", "two")
        ]
        assert chunks[0].message.thinking
        answer = client.chat("llama3.2", [{"role": "user", "content": "hi", "images": [b"12345"]}], format=SCHEMA)
        assert json.loads(answer.message.content) == {"city": "city"}
        assert client.chat("llama3.2", [{"role": "user", "content": "hi", "images": [b"12345"]}]).message.content == (
            "Images: 1 (5 bytes). You said: hi"
        )
    finally:
        client._client.close()
