"""OpenAI's `/v1/responses`, as the openai SDK asks and reads."""

import json
from typing import Any

from tests.matrix.asks import Ask, Call, Part, Picture, Result, Seen, Thought, Turn
from tests.matrix.callers.caller import Json, Words, arguments_of, partly, sse_events
from tests.matrix.callers.chat import read_openai_error


class Responses:
    name = "responses"
    path = "/v1/responses"
    surface = "responses"
    words = Words(stop="completed", stop_sequence="completed", length="incomplete", tools="completed")
    lacks: frozenset[str] = frozenset()
    hides: frozenset[str] = frozenset()
    stream_type = "text/event-stream"
    always_warned: frozenset[tuple[str, str]] = frozenset()

    def write(self, model: str, ask: Ask) -> Json:
        body: Json = {"model": model, "input": [each for turn in ask.turns for each in write_turn(turn)]}
        body["store"] = False
        if ask.tools:
            body["tools"] = [
                {"type": "function", "name": t.name, "description": t.description, "parameters": t.schema}
                for t in ask.tools
            ]
        if ask.choice in ("none", "required"):
            body["tool_choice"] = ask.choice
        elif ask.choice:
            body["tool_choice"] = {"type": "function", "name": ask.choice}
        if ask.parallel is not None:
            body["parallel_tool_calls"] = ask.parallel
        if ask.thinking is not None:
            effort = ask.thinking if isinstance(ask.thinking, str) else "medium" if ask.thinking else "none"
            body["reasoning"] = {"effort": effort}
        if ask.output is True:
            body["text"] = {"format": {"type": "json_object"}}
        elif ask.output:
            body["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": ask.output, "strict": True}}
        if ask.limit is not None:
            body["max_output_tokens"] = ask.limit
        if ask.stops:
            body["stop"] = list(ask.stops)
        if ask.stream:
            body["stream"] = True
        return body

    def read_document(self, body: bytes) -> Seen:
        return read_response(json.loads(body))

    def read_stream(self, body: bytes) -> Seen:
        """What the deltas said; the last event, which has it all once more, must say the same."""
        told = Told()
        last: Seen | None = None
        for number, (name, data) in enumerate(sse_events(body)):
            event = json.loads(data)
            assert event["type"] == name
            assert last is None or name in ("error", "response.failed"), "something after the end"
            if name == "error":
                told.seen.error = event["message"]
                continue
            assert event["sequence_number"] == number
            if name in ("response.completed", "response.incomplete"):
                last = read_response(event["response"])
            elif name == "response.failed":
                assert event["response"]["status"] == "failed"
                told.seen.error = event["response"]["error"]["message"]
            else:
                told.add(name, event)
        told.finish()
        if last is None:
            return told.seen
        seen = told.seen
        assert (last.text, last.thinking, last.calls) == (seen.text, seen.thinking, seen.calls)
        last.order = seen.order
        return last

    def read_error(self, status: int, body: bytes) -> str:
        return read_openai_error(body)


class Told:
    """The deltas of a stream, by the item that they belong to."""

    def __init__(self) -> None:
        self.seen = Seen()
        self._items: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, str] = {}

    def add(self, name: str, event: Json) -> None:
        seen = self.seen
        match name.removeprefix("response."):
            case "created":
                seen.id = event["response"]["id"]
            case "output_item.added":
                assert event["output_index"] == len(self._items)
                self._items[event["output_index"]] = event["item"]
                if event["item"]["type"] == "function_call":
                    seen.note("call")
                    self._arguments[event["output_index"]] = ""
            case "output_text.delta":
                assert self._items[event["output_index"]]["type"] == "message"
                seen.note("text")
                seen.text += event["delta"]
            case "reasoning_text.delta":
                assert self._items[event["output_index"]]["type"] == "reasoning"
                seen.note("thinking")
                seen.thinking += event["delta"]
            case "function_call_arguments.delta":
                self._arguments[event["output_index"]] += event["delta"]
            case "output_item.done":
                assert self._items[event["output_index"]]["id"] == event["item"]["id"]
            case _:
                assert name.rpartition(".")[2] in ("in_progress", "added", "done"), name

    def finish(self) -> None:
        for index, arguments in self._arguments.items():
            item = self._items[index]
            self.seen.calls.append(Call(item["name"], partly(arguments), item["call_id"]))


def read_response(response: Json) -> Seen:
    assert response["object"] == "response"
    seen = Seen(id=response["id"], finish=response["status"], is_whole=True)
    if seen.finish == "incomplete":
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    for item in response["output"]:
        match item["type"]:
            case "message":
                seen.text += "".join(part["text"] for part in item["content"])
            case "reasoning":
                seen.thinking += "".join(part["text"] for part in item["content"])
            case kind:
                assert kind == "function_call"
                read = arguments_of if item["status"] == "completed" else partly
                seen.calls.append(Call(item["name"], read(item["arguments"]), item["call_id"]))
    usage = response["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    seen.prompt_tokens, seen.completion_tokens = usage["input_tokens"], usage["output_tokens"]
    seen.cached_tokens = usage["input_tokens_details"]["cached_tokens"]
    seen.reasoning_tokens = usage["output_tokens_details"]["reasoning_tokens"]
    return seen


def write_turn(turn: Turn) -> list[Json]:
    contents = [part for part in turn.parts if isinstance(part, str | Picture)]
    items: list[Json] = [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": part.text}]}
        for part in turn.parts
        if isinstance(part, Thought)
    ]
    if len(contents) == 1 and isinstance(contents[0], str):
        items.append({"role": turn.role, "content": contents[0]})
    elif contents:
        items.append({"role": turn.role, "content": [write_part(part) for part in contents]})
    for part in turn.parts:
        if isinstance(part, Call):
            arguments = json.dumps(part.arguments)
            items.append({"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments})
        elif isinstance(part, Result):
            items.append({"type": "function_call_output", "call_id": part.call_id, "output": part.text})
    return items


def write_part(part: Part) -> Json:
    if isinstance(part, Picture):
        return {"type": "input_image", "image_url": part.link}
    assert isinstance(part, str)
    return {"type": "input_text", "text": part}
