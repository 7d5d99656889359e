"""OpenAI's `/v1/chat/completions`, as the openai SDK asks and reads."""

import json
from typing import Any

from tests.matrix.asks import Ask, Call, Part, Picture, Result, Seen, Thought, Turn
from tests.matrix.callers.caller import Json, Words, arguments_of, partly, sse_events


class Chat:
    name = "chat"
    path = "/v1/chat/completions"
    surface = "chat"
    words = Words(stop="stop", stop_sequence="stop", length="length", tools="tool_calls")
    lacks: frozenset[str] = frozenset()
    hides: frozenset[str] = frozenset()
    stream_type = "text/event-stream"
    always_warned: frozenset[tuple[str, str]] = frozenset()

    def write(self, model: str, ask: Ask) -> Json:
        body: Json = {"model": model, "messages": [each for turn in ask.turns for each in write_turn(turn)]}
        if ask.tools:
            body["tools"] = [
                {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
                for t in ask.tools
            ]
        if ask.choice in ("none", "required"):
            body["tool_choice"] = ask.choice
        elif ask.choice:
            body["tool_choice"] = {"type": "function", "function": {"name": ask.choice}}
        if ask.parallel is not None:
            body["parallel_tool_calls"] = ask.parallel
        if isinstance(ask.thinking, str):
            body["reasoning_effort"] = ask.thinking
        elif ask.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": ask.thinking}
        if ask.output is True:
            body["response_format"] = {"type": "json_object"}
        elif ask.output:
            schema = {"name": "answer", "schema": ask.output, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if ask.limit is not None:
            body["max_tokens"] = ask.limit  # its newer name is one that Ollama's /v1 does not know
        if ask.stops:
            body["stop"] = list(ask.stops)
        if ask.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def read_document(self, body: bytes) -> Seen:
        answer = json.loads(body)
        assert answer["object"] == "chat.completion"
        (choice,) = answer["choices"]
        message = choice["message"]
        assert message["role"] == "assistant"
        seen = Seen(id=answer["id"], finish=choice["finish_reason"], is_whole=True)
        seen.text = message.get("content") or ""
        seen.thinking = read_thinking(message)
        for call in message.get("tool_calls") or ():
            assert call["type"] == "function"
            function = call["function"]
            seen.calls.append(Call(function["name"], arguments_of(function["arguments"]), call["id"]))
        read_usage(seen, answer["usage"])
        return seen

    def read_stream(self, body: bytes) -> Seen:
        seen, calls = Seen(), Calls()
        for _, data in sse_events(body):
            assert not seen.is_whole, "something after [DONE]"
            if data == "[DONE]":
                seen.is_whole = True
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                seen.error = chunk["error"]["message"]
                continue
            assert chunk["object"] == "chat.completion.chunk"
            assert seen.id in ("", chunk["id"]), "another id"
            seen.id = chunk["id"]
            if chunk.get("usage"):
                read_usage(seen, chunk["usage"])
            for choice in chunk["choices"]:
                assert choice["index"] == 0
                self._read_delta(seen, calls, choice["delta"])
                seen.finish = choice.get("finish_reason") or seen.finish
        seen.calls = calls.all()
        return seen

    def _read_delta(self, seen: Seen, calls: "Calls", delta: Json) -> None:
        if delta.get("content"):
            seen.note("text")
            seen.text += delta["content"]
        if thinking := read_thinking(delta):
            seen.note("thinking")
            seen.thinking += thinking
        for piece in delta.get("tool_calls") or ():
            seen.note("call")
            calls.add(piece)

    def read_error(self, status: int, body: bytes) -> str:
        return read_openai_error(body)


class Calls:
    """Put together as SDKs do: by index, where an id that is another one begins another call (Ollama's /v1)."""

    def __init__(self) -> None:
        self._made: list[dict[str, Any]] = []

    def add(self, piece: Json) -> None:
        function = piece["function"]
        found = [made for made in self._made if made["index"] == piece["index"]]
        if not found or (piece.get("id") and found[-1]["id"] != piece["id"]):
            assert function["name"], "a call begins without a name"
            found = [{"index": piece["index"], "id": piece.get("id") or "", "name": function["name"], "arguments": ""}]
            self._made += found
        found[-1]["arguments"] += function.get("arguments") or ""

    def all(self) -> list[Call]:
        return [Call(made["name"], partly(made["arguments"]), made["id"]) for made in self._made]


def read_thinking(message: Json) -> str:
    """Ours is `reasoning_content`; Ollama's own, passed straight, is `reasoning`."""
    return message.get("reasoning_content") or message.get("reasoning") or ""


def read_usage(seen: Seen, usage: Json) -> None:
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    seen.prompt_tokens, seen.completion_tokens = usage["prompt_tokens"], usage["completion_tokens"]
    seen.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    seen.reasoning_tokens = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")


def read_openai_error(body: bytes) -> str:
    error = json.loads(body)["error"]
    assert {"message", "type", "param", "code"} <= error.keys(), error
    return str(error["message"])


def write_turn(turn: Turn) -> list[Json]:
    if turn.role == "tool":
        results = [part for part in turn.parts if isinstance(part, Result)]
        return [{"role": "tool", "tool_call_id": result.call_id, "content": result.text} for result in results]
    message: Json = {"role": turn.role}
    contents = [part for part in turn.parts if not isinstance(part, Call | Thought)]
    if len(contents) == 1 and isinstance(contents[0], str):
        message["content"] = contents[0]
    elif contents:
        message["content"] = [write_part(part) for part in contents]
    thoughts = [part.text for part in turn.parts if isinstance(part, Thought)]
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    calls = [part for part in turn.parts if isinstance(part, Call)]
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in calls
        ]
    return [message]


def write_part(part: Part) -> Json:
    if isinstance(part, Picture):
        return {"type": "image_url", "image_url": {"url": part.link}}
    assert isinstance(part, str)
    return {"type": "text", "text": part}
