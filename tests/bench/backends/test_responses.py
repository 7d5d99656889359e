import json

import msgspec
import pytest

from bench.backends.heads import UvicornHeads
from bench.backends.prompts import Refusal
from bench.backends.responses import Responses, ResponsesRequest, read_prompt
from bench.backends.work import Timing, Work
from bench.http1 import Request

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "name": "one", "parameters": SCHEMA}


def ask(given="hi", **fields):
    made = Responses(UvicornHeads(), lambda model: model if model == "m" else None, lambda: "0f", True, None)
    body = {"model": "m", "input": given, "stream": True} | fields
    work = made.create(Request(b"POST", b"/v1/responses", b"", json.dumps(body).encode()), 1)
    assert isinstance(work, Work)
    return work


def events_of(work):
    closing = work.closing(Timing(0), work.completion_tokens).events
    events = (*work.opening, *(event for events in work.script for event in events), *closing)
    made = []
    for event in events:
        name, data = event.removesuffix(b"\n\n").split(b"\n")
        made.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + made[-1]["type"].encode()
    assert [event["sequence_number"] for event in made] == list(range(len(made)))
    return made


def whole_of(work):
    return json.loads(work.whole(Timing(0), work.completion_tokens).split(b"\r\n\r\n", 1)[1])


def test_a_text_is_a_message_of_one_part():
    work = ask("say:one two")
    kinds = [event["type"].removeprefix("response.") for event in events_of(work)]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    last = events_of(work)[-1]["response"]
    assert last == whole_of(work)
    assert (last["status"], last["output"][0]["content"][0]["text"]) == ("completed", "one two")
    assert last["usage"]["output_tokens"] == work.completion_tokens == 2


def test_reasoning_and_calls_are_items_of_their_own():
    work = ask("call:one", tools=[TOOL], reasoning={"effort": "low"})
    reasoning, call = whole_of(work)["output"]
    assert reasoning["content"][0]["text"].startswith("Thinking (low)")
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "one", {"city": "city"})
    events = events_of(work)
    pieces = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(pieces) == call["arguments"]
    details = whole_of(work)["usage"]["output_tokens_details"]
    assert details == {"reasoning_tokens": work.reasoning_tokens}


def test_a_length_stop_is_incomplete():
    work = ask("call:one", tools=[TOOL], max_output_tokens=2)
    last = events_of(work)[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][0]["status"] == "incomplete"


def read(given, **fields):
    return read_prompt(msgspec.json.decode(json.dumps({"model": "m", "input": given} | fields), type=ResponsesRequest))


def test_items_are_a_conversation():
    prompt = read(
        [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,aGk="}]},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "c", "name": "one", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "sunny"},
        ],
        instructions="cached",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "one"},
        text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
    )
    heard = prompt.conversation
    assert (heard.images, heard.results, prompt.is_cached) == ([2], ["sunny"], True)
    assert (prompt.tools, prompt.forced, prompt.schema) == ({"one": SCHEMA}, "one", SCHEMA)
    assert read("a").schema is None
    assert read("a", text={"format": {"type": "json_object"}}).schema is True


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "x"}, 404),
        ({"previous_response_id": "resp_1"}, 404),
        ({"tool_choice": "required"}, 400),
        ({"given": [{"type": "computer_call"}]}, 400),
    ],
)
def test_refusals(fields, status):
    with pytest.raises(Refusal) as caught:
        ask(**fields)
    assert caught.value.status == status
