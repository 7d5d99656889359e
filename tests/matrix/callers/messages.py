"""Anthropic's `/v1/messages`, as the anthropic SDK asks and reads."""

import json

from tests.matrix.asks import Ask, Call, Part, Picture, Result, Seen, Thought, Turn
from tests.matrix.callers.caller import Json, Words, partly, sse_events

DEFAULT_LIMIT = 4096
BUDGET = 1024


class Messages:
    name = "messages"
    path = "/v1/messages"
    surface = "messages"
    words = Words(stop="end_turn", stop_sequence="stop_sequence", length="max_tokens", tools="tool_use")
    lacks = frozenset({"json_object"})
    hides: frozenset[str] = frozenset()
    stream_type = "text/event-stream"
    always_warned: frozenset[tuple[str, str]] = frozenset()

    def write(self, model: str, ask: Ask) -> Json:
        body: Json = {"model": model, "max_tokens": DEFAULT_LIMIT if ask.limit is None else ask.limit}
        system = [part for turn in ask.turns if turn.role == "system" for part in turn.parts]
        if system:
            body["system"] = system[0] if len(system) == 1 else [{"type": "text", "text": text} for text in system]
        body["messages"] = [write_turn(turn) for turn in ask.turns if turn.role != "system"]
        if ask.tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.schema} for tool in ask.tools
            ]
        body |= self._choice(ask) | self._thinking(ask)
        assert ask.output is not True, "there is no such wish in this dialect"
        if ask.output:
            body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": ask.output}
        if ask.stops:
            body["stop_sequences"] = list(ask.stops)
        if ask.stream:
            body["stream"] = True
        return body

    def _choice(self, ask: Ask) -> Json:
        if ask.choice in ("none", "required"):
            choice: Json = {"type": "none" if ask.choice == "none" else "any"}
        elif ask.choice:
            choice = {"type": "tool", "name": ask.choice}
        elif ask.parallel is not None:
            choice = {"type": "auto"}
        else:
            return {}
        if ask.parallel is not None:
            choice["disable_parallel_tool_use"] = not ask.parallel
        return {"tool_choice": choice}

    def _thinking(self, ask: Ask) -> Json:
        if ask.thinking is None:
            return {}
        if ask.thinking is False:
            return {"thinking": {"type": "disabled"}}
        if ask.thinking is True:
            return {"thinking": {"type": "enabled", "budget_tokens": BUDGET}, "max_tokens": DEFAULT_LIMIT}
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": ask.thinking}}

    def read_document(self, body: bytes) -> Seen:
        answer = json.loads(body)
        assert (answer["type"], answer["role"]) == ("message", "assistant")
        seen = Seen(id=answer["id"], finish=answer["stop_reason"], is_whole=True)
        for block in answer["content"]:
            match block["type"]:
                case "text":
                    assert block["text"]
                    seen.text += block["text"]
                case "thinking":
                    seen.signature = block["signature"]
                    seen.thinking += block["thinking"]
                case kind:
                    assert kind == "tool_use"
                    seen.calls.append(Call(block["name"], block["input"], block["id"]))
        read_usage(seen, answer["usage"])
        return seen

    def read_stream(self, body: bytes) -> Seen:
        """Blocks one after the other, by their numbers; counts are cumulative, so that the last ones stand."""
        seen, blocks = Seen(), Blocks()
        usage: Json = {}
        for name, data in sse_events(body):
            event = json.loads(data)
            assert event["type"] == name
            assert not seen.is_whole, "something after message_stop"
            match name:
                case "message_start":
                    seen.id = event["message"]["id"]
                    assert (event["message"]["content"], event["message"]["stop_reason"]) == ([], None)
                    usage = dict(event["message"]["usage"])
                case "message_delta":
                    seen.finish = event["delta"]["stop_reason"]
                    usage |= {key: value for key, value in event["usage"].items() if value is not None}
                case "message_stop":
                    seen.is_whole = True
                case "error":
                    seen.error = event["error"]["message"]
                case "ping":
                    pass
                case _:
                    assert seen.id, f"{name} before message_start"
                    blocks.add(name, event, seen)
        if seen.is_whole:
            assert blocks.open is None
            read_usage(seen, usage)
        return seen

    def read_error(self, status: int, body: bytes) -> str:
        answer = json.loads(body)
        assert answer["type"] == "error"
        assert answer["error"]["type"]
        return str(answer["error"]["message"])


class Blocks:
    """The content of a stream; AssertionError where blocks overlap or are left open."""

    def __init__(self) -> None:
        self.open: Json | None = None
        self._next = 0
        self._arguments = ""

    def add(self, name: str, event: Json, seen: Seen) -> None:
        match name:
            case "content_block_start":
                assert self.open is None, "blocks overlap"
                assert event["index"] == self._next
                self._next += 1
                self.open = event["content_block"]
                self._arguments = ""
                if self.open["type"] == "tool_use":
                    seen.note("call")
                    assert self.open["input"] == {}
            case "content_block_delta":
                assert self.open is not None
                assert event["index"] == self._next - 1
                self._read_delta(event["delta"], seen)
            case kind:
                assert kind == "content_block_stop"
                assert self.open is not None
                assert event["index"] == self._next - 1
                if self.open["type"] == "tool_use":
                    seen.calls.append(Call(self.open["name"], partly(self._arguments), self.open["id"]))
                self.open = None

    def _read_delta(self, delta: Json, seen: Seen) -> None:
        assert self.open is not None
        match self.open["type"], delta["type"]:
            case "text", "text_delta":
                seen.note("text")
                seen.text += delta["text"]
            case "thinking", "thinking_delta":
                seen.note("thinking")
                seen.thinking += delta["thinking"]
            case "thinking", "signature_delta":
                assert delta["signature"]
                seen.signature = delta["signature"]
            case pair:
                assert pair == ("tool_use", "input_json_delta")
                self._arguments += delta["partial_json"]


def read_usage(seen: Seen, usage: Json) -> None:
    """`input_tokens` is without what caches gave and took."""
    seen.cached_tokens = usage.get("cache_read_input_tokens")
    written = usage.get("cache_creation_input_tokens") or 0
    seen.prompt_tokens = usage["input_tokens"] + (seen.cached_tokens or 0) + written
    seen.completion_tokens = usage["output_tokens"]
    seen.reasoning_tokens = (usage.get("output_tokens_details") or {}).get("thinking_tokens")


def write_turn(turn: Turn) -> Json:
    """A tool's results are a user's message."""
    role = "user" if turn.role == "tool" else turn.role
    if len(turn.parts) == 1 and isinstance(turn.parts[0], str):
        return {"role": role, "content": turn.parts[0]}
    return {"role": role, "content": [write_part(part) for part in turn.parts]}


def write_part(part: Part) -> Json:
    match part:
        case str():
            return {"type": "text", "text": part}
        case Picture(url=url) if url:
            return {"type": "image", "source": {"type": "url", "url": url}}
        case Picture():
            return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": part.base64}}
        case Call():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
        case Result():
            return {"type": "tool_result", "tool_use_id": part.call_id, "content": part.text}
        case Thought():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
