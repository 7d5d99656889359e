"""Answers that the prompt chooses, in vLLM's words; read back by the OpenAI SDK where it can."""

import json

import openai
import pytest

from bench.backends.build import id_source
from bench.backends.settings import EngineSettings
from bench.backends.vllm import Vllm
from bench.backends.work import Counts, Reply, Timing, Work
from bench.http1 import Request

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("one", "two")]


def ask(path, settings, **body):
    made = Vllm(EngineSettings("vllm", ("m",), **settings), id_source(1), lambda: Counts(0, 0, 0, 0))
    data = json.dumps({"model": "m", "stream": True, "stream_options": {"include_usage": True}} | body).encode()
    return made.answer(Request(b"POST", path, b"", data), 1_700_000_000)


def chat(content="hi", settings=None, **body):
    messages = [{"role": "user", "content": content}]
    work = ask(b"/v1/chat/completions", settings or {}, messages=messages, **body)
    assert isinstance(work, Work)
    return work


def events_of(work):
    closing = work.closing(Timing(0), work.completion_tokens).events
    events = [*work.opening, *(event for events in work.script for event in events), *closing]
    assert events.pop() == b"data: [DONE]\n\n"
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def deltas_of(work, index=0):
    choices = (choice for event in events_of(work) for choice in event["choices"] if choice["index"] == index)
    return [choice["delta"] for choice in choices]


def whole_of(work):
    return json.loads(work.whole(Timing(0), work.completion_tokens).split(b"\r\n\r\n", 1)[1])


def call_deltas(style):
    work = chat("call:one call:two", {"tool_style": style}, tools=TOOLS)
    return [call for delta in deltas_of(work) for call in delta.get("tool_calls", ())]


def joined(calls, key):
    """Arguments by whatever tells the calls of a stream apart."""
    made = {}
    for call in calls:
        made[call[key]] = made.get(call[key], "") + (call["function"].get("arguments") or "")
    return [json.loads(text) for text in made.values()]


def test_a_call_is_its_name_first_and_then_fragments_by_index():
    calls = call_deltas("fragments")
    first, second = calls[0], calls[1]
    assert list(first) == ["id", "type", "index", "function"]
    assert (first["function"], list(second)) == ({"name": "one"}, ["index", "function"])
    assert len({call["id"] for call in calls if "id" in call}) == 2
    assert joined(calls, "index") == [{"city": "city"}] * 2


def test_other_servers_stream_calls_in_their_own_ways():
    whole = call_deltas("whole")
    assert [(call["index"], json.loads(call["function"]["arguments"])) for call in whole] == [
        (0, {"city": "city"}),
        (1, {"city": "city"}),
    ]
    assert [call["index"] for call in call_deltas("index0")] == [0, 0]
    assert len({call["id"] for call in call_deltas("index0")}) == 2
    assert {call["id"] for call in call_deltas("idless")[1:3]} == {None}
    assert not any("id" in call for call in call_deltas("anonymous"))
    turns = [call["index"] for call in call_deltas("interleaved")]
    assert turns[:4] == [0, 1, 0, 1]
    assert joined(call_deltas("interleaved"), "index") == [{"city": "city"}] * 2


@pytest.mark.parametrize("style", ["fragments", "whole", "interleaved"])
def test_every_style_costs_the_same_tokens(style):
    work = chat("call:one call:two", {"tool_style": style}, tools=TOOLS)
    assert work.completion_tokens == len(work.script) == chat("call:one call:two", tools=TOOLS).completion_tokens


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("auto", "tool_calls"), ("required", "tool_calls"), ({"type": "function", "function": {"name": "one"}}, "stop")],
)
def test_the_finish_reason_after_a_named_choice_is_stop(choice, reason):
    work = chat("call:one", tools=TOOLS, tool_choice=choice)
    assert events_of(work)[-2]["choices"][0]["finish_reason"] == reason
    answer = whole_of(work)["choices"][0]
    assert (answer["finish_reason"], answer["message"]["content"]) == (reason, None)
    assert answer["message"]["tool_calls"][0]["function"] == {"name": "one", "arguments": '{"city": "city"}'}


@pytest.mark.parametrize(
    ("field", "present"),
    [
        ("reasoning", {"reasoning"}),
        ("reasoning_content", {"reasoning_content"}),
        ("both", {"reasoning", "reasoning_content"}),
    ],
)
def test_thinking_is_in_the_field_of_the_version_and_counted(field, present):
    work = chat(settings={"reasoning_field": field}, reasoning_effort="low")
    thinking = [delta for delta in deltas_of(work) if "content" not in delta]
    assert {name for delta in thinking for name in delta} == present
    usage = events_of(work)[-1]["usage"]
    assert (
        usage["completion_tokens_details"]
        == {"reasoning_tokens": len(thinking)}
        == {"reasoning_tokens": work.reasoning_tokens}
    )
    assert usage["completion_tokens"] == work.completion_tokens > len(thinking)
    message = whole_of(work)["choices"][0]["message"]
    assert all(message[name].startswith("Thinking (low)") for name in present)


def test_a_cached_prompt_is_reported():
    work = chat("this is cached")
    assert events_of(work)[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": work.prompt_tokens // 2}
    assert whole_of(work)["usage"]["prompt_tokens_details"] == {"cached_tokens": work.cached_tokens}


def test_a_stop_sequence_is_named():
    work = chat("say:a b c", stop=["b"])
    last = events_of(work)[-2]["choices"][0]
    assert (last["finish_reason"], last["stop_reason"]) == ("stop", "b")
    assert whole_of(work)["choices"][0]["message"]["content"] == "a "


def test_several_choices_and_their_logprobs():
    work = chat("say:one two", n=2, logprobs=True, top_logprobs=2)
    for index in range(2):
        assert "".join(delta["content"] for delta in deltas_of(work, index)) == "one two"
    assert work.completion_tokens == 4
    choices = whole_of(work)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert [len(token["top_logprobs"]) for token in choices[1]["logprobs"]["content"]] == [2, 2]


def test_limits_hold_for_scripts_too():
    work = chat("say:one two three four", max_tokens=2)
    assert (work.completion_tokens, events_of(work)[-1]["usage"]["completion_tokens"]) == (2, 2)
    assert whole_of(work)["choices"][0]["finish_reason"] == "length"


def test_completions_of_several_prompts_with_echo_stop_and_logprobs():
    body = {"prompt": ["say:a b", "say:c d"], "echo": True, "stop": "d", "logprobs": 2}
    work = ask(b"/v1/completions", {}, **body)
    texts = ["", ""]
    for event in events_of(work):
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == ["say:a ba b", "say:c dc "]
    choices = whole_of(work)["choices"]
    assert [choice["text"] for choice in choices] == texts
    assert choices[0]["logprobs"]["tokens"] == ["a", " b"]
    assert choices[1]["stop_reason"] == "d"


def test_a_suffix_is_refused():
    reply = ask(b"/v1/completions", {}, prompt="a", suffix="b")
    assert isinstance(reply, Reply)
    assert reply.status == 400


def test_embeddings_of_tokens_in_fewer_dimensions():
    reply = ask(b"/v1/embeddings", {}, input=[[1, 2, 3], [4, 5]], dimensions=3)
    answer = json.loads(reply.data.split(b"\r\n\r\n", 1)[1])
    assert [len(item["embedding"]) for item in answer["data"]] == [3, 3]
    assert answer["usage"]["prompt_tokens"] == 5
    assert ask(b"/v1/embeddings", {}, input="a", dimensions=0).status == 400


def test_a_plain_request_has_no_script():
    assert chat("a stool call:one").script is None
    assert chat("hi", tools=[], tool_choice="none").script is None


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_reads_calls_thinking_and_structured_answers(vllm):
    with openai.OpenAI(base_url=f"{vllm.url}/v1", api_key="none", max_retries=0) as client:
        messages = [{"role": "user", "content": "call:one call:two"}]
        with client.chat.completions.stream(model="mock-8b", messages=messages, tools=TOOLS) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls
        assert [json.loads(call.function.arguments) for call in calls] == [{"city": "city"}] * 2
        messages = [{"role": "user", "content": "hi"}]
        answer = client.chat.completions.create(
            model="mock-8b",
            messages=messages,
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
            reasoning_effort="low",
        )
        assert json.loads(answer.choices[0].message.content) == {"city": "city"}
        assert answer.usage.completion_tokens_details.reasoning_tokens > 0
