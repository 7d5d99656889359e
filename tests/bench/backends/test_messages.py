import json

import pytest

from bench.backends.anthropic_prompts import sign
from bench.backends.heads import UvicornHeads
from bench.backends.messages import PING, Host, Messages
from bench.backends.settings import EngineSettings
from bench.backends.work import Reply, Timing, Work
from bench.http1 import Request

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": name, "input_schema": SCHEMA} for name in ("one", "two")]


def ask(content="hi", is_anthropic=True, **fields):
    host = Host(UvicornHeads(), lambda model: model if model == "m" else None, lambda: "0f", is_anthropic, True)
    body = {
        "model": "m",
        "max_tokens": 5000,
        "stream": True,
        "messages": [{"role": "user", "content": content}],
    } | fields
    made = Messages(EngineSettings("anthropic", ("m",), answer_tokens=3), host)
    return made.create(
        Request(b"POST", b"/v1/messages", b"post\r\nanthropic-version: 2023-06-01", json.dumps(body).encode()), 1
    )


def events_of(work):
    assert isinstance(work, Work)
    flowing = [event for events in work.script for event in events] if work.script else [work.event % 42]
    closing = work.closing(Timing(0), work.completion_tokens).events
    events = []
    for event in (*work.opening, *flowing, *closing):
        name, data = event.removesuffix(b"\n\n").split(b"\n")
        events.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + events[-1]["type"].encode()
    return events


def whole_of(work):
    return json.loads(work.whole(Timing(0), work.completion_tokens).split(b"\r\n\r\n", 1)[1])


def folded(events):
    """Blocks as a client puts them together; begins and ends must come in order, one block at a time."""
    blocks, is_open = [], False
    for event in events:
        if event["type"] == "content_block_start":
            assert (is_open, event["index"]) == (False, len(blocks))
            blocks.append(event["content_block"] | {"json": ""})
            is_open = True
        elif event["type"] == "content_block_delta":
            assert (is_open, event["index"]) == (True, len(blocks) - 1)
            delta, block = event["delta"], blocks[-1]
            for key, into in (
                ("text", "text"),
                ("thinking", "thinking"),
                ("signature", "signature"),
                ("partial_json", "json"),
            ):
                if key in delta:
                    block[into] += delta[key]
        elif event["type"] == "content_block_stop":
            assert (is_open, event["index"]) == (True, len(blocks) - 1)
            is_open = False
    assert not is_open
    return blocks


def test_a_plain_answer_is_one_block_of_stamps():
    work = ask(max_tokens=7)
    kinds = [event["type"] for event in events_of(work)]
    assert kinds == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    last = events_of(work)[-2]
    assert (last["delta"]["stop_reason"], last["usage"]["output_tokens"]) == ("max_tokens", 7)
    assert whole_of(work)["content"][0]["text"].count("t0") == 7


def test_thinking_is_signed_and_counted():
    work = ask(thinking={"type": "enabled", "budget_tokens": 1024})
    events = events_of(work)
    thinking, text = folded(events)
    assert thinking["thinking"] == "Thinking (budget 1024): the user said 2 characters."
    assert (thinking["signature"], text["text"]) == (sign(thinking["thinking"]), "You said: hi")
    usage = events[-2]["usage"]
    assert usage["output_tokens_details"] == {"thinking_tokens": work.reasoning_tokens}
    assert usage["output_tokens"] == work.completion_tokens > work.reasoning_tokens > 0
    assert [block["type"] for block in whole_of(work)["content"]] == ["thinking", "text"]


def test_calls_are_blocks_of_json_fragments():
    work = ask("call:one call:two", tools=TOOLS)
    events = events_of(work)
    blocks = folded(events)
    assert [(block["name"], json.loads(block["json"])) for block in blocks] == [
        ("one", {"city": "city"}),
        ("two", {"city": "city"}),
    ]
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert [block["input"] for block in whole_of(work)["content"]] == [{"city": "city"}] * 2
    assert [block["id"] for block in whole_of(work)["content"]] == [block["id"] for block in blocks]


def test_a_stop_sequence_is_named_and_a_cache_is_reported():
    work = ask("say:cached and stop here", stop_sequences=["stop"])
    events = events_of(work)
    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "stop"}
    usage = events[0]["message"]["usage"]
    assert usage["cache_read_input_tokens"] == work.cached_tokens > 0
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == work.prompt_tokens
    assert whole_of(work)["stop_sequence"] == "stop"


def test_a_length_stop_may_come_amid_a_call():
    work = ask("call:one", tools=TOOLS, max_tokens=2)
    assert events_of(work)[-2]["delta"]["stop_reason"] == "max_tokens"
    assert len(folded(events_of(work))) == 1
    assert whole_of(work)["content"] == []


def test_pings_are_anthropics_alone():
    words = "say:" + "word " * 100
    assert sum(event.count(PING) for event in map(b"".join, ask(words).script)) > 2
    assert not any(PING in events for events in ask(words, is_anthropic=False).script)
    assert PING not in ask(is_anthropic=False).opening


@pytest.mark.parametrize(("model", "status"), [("nope", 404)])
def test_errors_have_anthropics_shape(model, status):
    reply = ask(model=model)
    assert isinstance(reply, Reply)
    body = json.loads(reply.data.split(b"\r\n\r\n", 1)[1])
    assert (reply.status, body["type"], body["error"]["type"]) == (status, "error", "not_found_error")
    assert body["request_id"] == "req_0f"


def test_an_engine_may_leave_the_limit_open():
    work = ask(is_anthropic=False, max_tokens=None)
    assert (work.completion_tokens, events_of(work)[-2]["delta"]["stop_reason"]) == (3, "end_turn")
