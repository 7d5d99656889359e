"""Ollama's `/api/chat`, as its SDK asks and reads."""

import json

from tests.matrix.asks import Ask, Call, Picture, Result, Seen, Thought, Turn
from tests.matrix.callers.caller import Json, Words


class OllamaChat:
    name = "ollama"
    path = "/api/chat"
    surface = "ollama"
    words = Words(stop="stop", stop_sequence="stop", length="length", tools="stop")
    lacks = frozenset({"tool_choice", "parallel"})
    hides = frozenset({"cached_tokens", "reasoning_tokens"})
    stream_type = "application/x-ndjson"
    always_warned: frozenset[tuple[str, str]] = frozenset()

    def write(self, model: str, ask: Ask) -> Json:
        body: Json = {"model": model, "messages": [each for turn in ask.turns for each in write_turn(turn)]}
        if ask.tools:
            body["tools"] = [
                {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
                for t in ask.tools
            ]
        assert ask.choice is None, "there is no such wish in this dialect"
        assert ask.parallel is None, "there is no such wish in this dialect"
        if ask.thinking is not None:
            body["think"] = ask.thinking
        if ask.output:
            body["format"] = "json" if ask.output is True else ask.output
        options: Json = {}
        if ask.limit is not None:
            options["num_predict"] = ask.limit
        if ask.stops:
            options["stop"] = list(ask.stops)
        return body | {"options": options, "stream": ask.stream}

    def read_document(self, body: bytes) -> Seen:
        seen = Seen()
        self._read_line(seen, json.loads(body))
        assert seen.is_whole
        return seen

    def read_stream(self, body: bytes) -> Seen:
        seen = Seen()
        for line in body.decode().split("\n")[:-1]:
            assert not seen.is_whole, "something after done"
            self._read_line(seen, json.loads(line))
        return seen

    def _read_line(self, seen: Seen, line: Json) -> None:
        if "error" in line:
            seen.error = line["error"]
            return
        assert line["model"]
        assert line["created_at"].endswith("Z")
        message = line["message"]
        assert message["role"] == "assistant"
        if message.get("thinking"):
            seen.note("thinking")
            seen.thinking += message["thinking"]
        if message["content"]:
            seen.note("text")
            seen.text += message["content"]
        for call in message.get("tool_calls") or ():
            seen.note("call")
            seen.calls.append(Call(call["function"]["name"], call["function"]["arguments"], call.get("id", "")))
        if line["done"]:
            seen.is_whole = True
            seen.finish = line["done_reason"]
            seen.prompt_tokens, seen.completion_tokens = line.get("prompt_eval_count"), line.get("eval_count")

    def read_error(self, status: int, body: bytes) -> str:
        answer = json.loads(body)
        assert answer.keys() == {"error"}
        return str(answer["error"])


def write_turn(turn: Turn) -> list[Json]:
    if turn.role == "tool":
        results = [part for part in turn.parts if isinstance(part, Result)]
        return [{"role": "tool", "tool_name": result.name, "content": result.text} for result in results]
    message: Json = {"role": turn.role, "content": "".join(part for part in turn.parts if isinstance(part, str))}
    pictures = [part for part in turn.parts if isinstance(part, Picture)]
    if pictures:
        message["images"] = [picture.url or picture.base64 for picture in pictures]
    thoughts = [part.text for part in turn.parts if isinstance(part, Thought)]
    if thoughts:
        message["thinking"] = "".join(thoughts)
    calls = [part for part in turn.parts if isinstance(part, Call)]
    if calls:
        message["tool_calls"] = [{"function": {"name": call.name, "arguments": call.arguments}} for call in calls]
    return [message]
