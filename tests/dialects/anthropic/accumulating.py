"""Reads a stream in Anthropic's dialect strictly: the order of events that its API reference promises ("Streaming
messages", 2026), nothing else. Fails where an SDK would lose something."""

import json
from typing import Any

_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def parse(stream: bytes) -> list[dict[str, Any]]:
    """The events, each with its name and its type the same, pings left out."""
    assert stream.endswith(b"\n\n")
    events = []
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        decoded = json.loads(data.removeprefix("data: "))
        assert name == f"event: {decoded['type']}"
        if decoded["type"] != "ping":
            events.append(decoded)
    return events


def accumulate(stream: bytes) -> dict[str, Any]:
    """The message that the stream builds."""
    first, *events, change, last = parse(stream)
    assert (first["type"], change["type"], last) == ("message_start", "message_delta", {"type": "message_stop"})
    message: dict[str, Any] = first["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    open_index = None
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert open_index is None
                open_index = event["index"]
                assert open_index == len(message["content"])
                message["content"].append(event["content_block"] | {"json": ""})
            case "content_block_delta":
                assert event["index"] == open_index
                _apply(message["content"][-1], event["delta"])
            case other:
                assert other == "content_block_stop"
                assert event["index"] == open_index
                open_index = None
    assert open_index is None
    for block in message["content"]:
        arguments = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = arguments
    message |= change["delta"]
    message["usage"] |= change["usage"]
    return message


def _apply(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta["type"] == "input_json_delta":
        assert block["type"] == "tool_use"
        block["json"] += delta["partial_json"]
        return
    member = _DELTAS[delta["type"]]
    block[member] += delta[member]
