"""Completions: OpenAI's `/v1/completions` and Ollama's `/api/generate`. A prompt in place of turns, no tools."""

import json

from tests.matrix.asks import Ask, Picture, Seen
from tests.matrix.callers.caller import Json, Words, sse_events
from tests.matrix.callers.chat import read_openai_error, read_usage

_NO_TALK = frozenset({"tool_choice", "parallel", "tools"})


def prompt_of(ask: Ask) -> str:
    """The only message of the user."""
    (turn,) = [turn for turn in ask.turns if turn.role == "user"]
    assert not ask.tools, "there are none in this dialect"
    return "".join(part for part in turn.parts if isinstance(part, str))


class Completions:
    name = "completions"
    path = "/v1/completions"
    surface = "text"
    words = Words(stop="stop", stop_sequence="stop", length="length", tools="")
    lacks = _NO_TALK | {"thinking", "json_object"}
    hides: frozenset[str] = frozenset()
    stream_type = "text/event-stream"
    always_warned = frozenset({("anthropic", "chat message")})

    def write(self, model: str, ask: Ask) -> Json:
        body: Json = {"model": model, "prompt": prompt_of(ask)}
        if ask.limit is not None:
            body["max_tokens"] = ask.limit
        if ask.stops:
            body["stop"] = list(ask.stops)
        if ask.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def read_document(self, body: bytes) -> Seen:
        answer = json.loads(body)
        assert answer["object"] == "text_completion"
        (choice,) = answer["choices"]
        seen = Seen(id=answer["id"], text=choice["text"], finish=choice["finish_reason"], is_whole=True)
        read_usage(seen, answer["usage"])
        return seen

    def read_stream(self, body: bytes) -> Seen:
        seen = Seen()
        for _, data in sse_events(body):
            assert not seen.is_whole, "something after [DONE]"
            if data == "[DONE]":
                seen.is_whole = True
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                seen.error = chunk["error"]["message"]
                continue
            assert chunk["object"] == "text_completion"
            seen.id = chunk["id"]
            if chunk.get("usage"):
                read_usage(seen, chunk["usage"])
            for choice in chunk["choices"]:
                seen.text += choice["text"]
                seen.finish = choice.get("finish_reason") or seen.finish
        return seen

    def read_error(self, status: int, body: bytes) -> str:
        return read_openai_error(body)


class Generate:
    name = "generate"
    path = "/api/generate"
    surface = "ollama"
    words = Words(stop="stop", stop_sequence="stop", length="length", tools="")
    lacks = _NO_TALK
    hides = frozenset({"cached_tokens", "reasoning_tokens"})
    stream_type = "application/x-ndjson"
    always_warned: frozenset[tuple[str, str]] = frozenset()

    def write(self, model: str, ask: Ask) -> Json:
        body: Json = {"model": model, "prompt": prompt_of(ask), "stream": ask.stream}
        system = [part for turn in ask.turns if turn.role == "system" for part in turn.parts]
        if system:
            (body["system"],) = system
        pictures = [part for turn in ask.turns for part in turn.parts if isinstance(part, Picture)]
        if pictures:
            body["images"] = [picture.base64 for picture in pictures]
        if ask.thinking is not None:
            body["think"] = ask.thinking
        if ask.output:
            body["format"] = "json" if ask.output is True else ask.output
        options: Json = {} if ask.limit is None else {"num_predict": ask.limit}
        if ask.stops:
            options["stop"] = list(ask.stops)
        return body | {"options": options}

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
        seen.text += line["response"]
        seen.thinking += line.get("thinking") or ""
        if line["done"]:
            seen.is_whole = True
            seen.finish = line["done_reason"]
            seen.prompt_tokens, seen.completion_tokens = line.get("prompt_eval_count"), line.get("eval_count")

    def read_error(self, status: int, body: bytes) -> str:
        answer = json.loads(body)
        assert answer.keys() == {"error"}
        return str(answer["error"])
