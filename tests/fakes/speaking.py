"""Engines that answer in whatever API they are asked, and callers that read every dialect strictly.

`speaks` is a behaviour: it looks at the path and at `stream`, and says the same texts as an engine of that API would.
`DIALECTS` are the callers' sides: what to send, and `hear`, which takes an answer apart and fails on anything that is
not well-formed: blank lines between Ollama's lines, events after the end, an end that is missing.
Sources of the engines' side: OpenAI API reference "Chat completion chunk object", Anthropic API reference "Streaming
messages", ollama docs/api.md, OpenAI API reference "Responses" (all 2026), shortened.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.behaviours import DONE, LAST_CHUNK, NDJSON_HEAD, STREAM_HEAD, answer, chunk, event, sized, usage_event
from tests.fakes.caller import Answer, request
from tests.fakes.loop_engine import Behaviour, Turn

FINISH = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)


def sse(name: str, **fields: object) -> bytes:
    """An event with a name, as Anthropic and the Responses API frame it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name, **fields}).encode())


def message_start(prompt_tokens: int = 5) -> bytes:
    usage = {"input_tokens": prompt_tokens, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    return sse("message_start", message=message)


BLOCK_START = sse("content_block_start", index=0, content_block={"type": "text", "text": ""})


def block_delta(text: str) -> bytes:
    return sse("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def message_end(completion_tokens: int = 2) -> bytes:
    usage = {"output_tokens": completion_tokens}
    delta = sse("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage)
    return sse("content_block_stop", index=0) + delta + sse("message_stop")


def line(text: str, **fields: object) -> bytes:
    """One line of Ollama's chat."""
    value = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}}
    return json.dumps({**value, "done": False, **fields}).encode() + b"\n"


def end_fields(prompt_tokens: int = 5, completion_tokens: int = 2) -> dict[str, object]:
    """What Ollama's last line, or its document, has besides."""
    counts = {"prompt_eval_count": prompt_tokens, "eval_count": completion_tokens}
    return {"done": True, "done_reason": "stop", "total_duration": 10, **counts}


def text_event(text: str) -> bytes:
    value = {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": None}]}
    return b"data: %b\n\n" % json.dumps(value).encode()


def generated(text: str, **fields: object) -> bytes:
    value = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "response": text, "done": False, **fields}
    return json.dumps(value).encode() + b"\n"


def stream_pieces(path: str, texts: tuple[str, ...], counts: tuple[int, int] = (5, 2)) -> list[bytes]:
    """The writes of an engine that streams these texts, framing included; the first is the head."""
    prompt, completion = counts
    match path:
        case "/v1/chat/completions":
            payload = [*map(event, texts), FINISH, usage_event(prompt, completion) + DONE]
        case "/v1/completions":
            payload = [*map(text_event, texts), usage_event(prompt, completion) + DONE]
        case "/v1/messages":
            payload = [message_start(prompt), BLOCK_START, *map(block_delta, texts), message_end(completion)]
        case "/api/chat":
            payload = [*map(line, texts), line("", **end_fields(*counts))]
        case "/api/generate":
            payload = [*map(generated, texts), generated("", **end_fields(*counts))]
        case _:
            raise AssertionError(f"no stream at {path}")
    head = NDJSON_HEAD if path.startswith("/api") else STREAM_HEAD
    return [head, *map(chunk, payload), LAST_CHUNK]


def document(path: str, text: str, counts: tuple[int, int] = (5, 2)) -> bytes:
    """The same as one JSON object."""
    prompt, completion = counts
    openai = {"id": "c", "created": 1, "model": "m"}
    openai_usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    value: dict[str, object]
    match path:
        case "/v1/chat/completions":
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            value = {**openai, "object": "chat.completion", "choices": [choice], "usage": openai_usage}
        case "/v1/completions":
            choice = {"index": 0, "text": text, "finish_reason": "stop"}
            value = {**openai, "object": "text_completion", "choices": [choice], "usage": openai_usage}
        case "/v1/messages":
            block = {"type": "text", "text": text}
            usage = {"input_tokens": prompt, "output_tokens": completion}
            value = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [block]}
            value |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
        case "/api/chat":
            value = json.loads(line(text, **end_fields(*counts)))
        case "/api/generate":
            value = json.loads(generated(text, **end_fields(*counts)))
        case "/v1/embeddings":
            vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
            value = {"object": "list", "model": "m", "data": [vector], "usage": {"prompt_tokens": prompt}}
        case "/api/embed":
            value = {"model": "m", "embeddings": [[0.5, 0.25]], "prompt_eval_count": prompt}
        case "/v1/responses":
            usage = {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion}
            content = [{"type": "output_text", "text": text, "annotations": []}]
            item = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": content}
            value = {"id": "resp_native", "object": "response", "status": "completed", "output": [item], "usage": usage}
        case _:
            raise AssertionError(f"no document at {path}")
    return json.dumps(value).encode()


def wants_stream(turn: Turn) -> bool:
    """Ollama's API streams unless told otherwise."""
    asked = turn.request.json
    is_ollama = turn.request.path in ("/api/chat", "/api/generate")
    return bool(asked.get("stream", is_ollama))


def speaks(*texts: str, counts: tuple[int, int] = (5, 2)) -> Behaviour:
    """These texts, in the API that is asked."""

    async def behave(turn: Turn) -> None:
        path = turn.request.path
        if wants_stream(turn):
            await answer(*stream_pieces(path, texts, counts))(turn)
        else:
            await answer(sized(document(path, "".join(texts), counts)))(turn)

    return behave


def begins(*texts: str, then: Callable[..., Behaviour], counts: tuple[int, int] = (5, 2)) -> Behaviour:
    """The beginning of a stream up to these texts, in the API that is asked, and `then`: `hang`, `reset`, …"""

    async def behave(turn: Turn) -> None:
        path = turn.request.path
        pieces = stream_pieces(path, texts, counts)
        count = len(texts) + (3 if path == "/v1/messages" else 1)
        await then(*pieces[:count])(turn)

    return behave


# The callers' side


@dataclass
class Heard:
    """An answer, taken apart. `error` is the message of the error that ended it; `usage` what the caller was told."""

    text: str = ""
    error: str | None = None
    usage: tuple[int, int] | None = None
    pings: int = 0
    events: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class CallersDialect:
    """`body` makes a request's fields, `stream` and `document` read an answer's payload. `code`: an error's type."""

    path: str
    body: Callable[[str], dict[str, Any]]
    stream: Callable[[bytes], Heard]
    document: Callable[[Any], Heard]
    content_type: str

    def ask(self, *lines: str, stream: bool = False, model: str = "m", **fields: Any) -> bytes:
        """A whole request."""
        return request(self.path, json.dumps({**self.body(model), "stream": stream, **fields}).encode(), *lines)

    def hear(self, got: Answer, *, stream: bool = False) -> Heard:
        """Fails for what is not well-formed. A refusal (a status of 400 and more) is always a document."""
        assert got.is_whole, got.raw
        kind = got.headers["content-type"].partition(";")[0]
        if got.status >= 400 or not stream:
            assert kind == "application/json"
            return self.document(got.json)
        assert (got.status, kind) == (200, self.content_type)
        return self.stream(got.payload)


def sse_events(payload: bytes) -> tuple[list[tuple[str, bytes]], int]:
    """(name, data) of each event, and the number of comments; every event is one `data:` line, ended by a blank one."""
    assert payload.endswith(b"\n\n"), payload
    events, comments = [], 0
    for block in payload[:-2].split(b"\n\n"):
        name, data = "", None
        lines = block.split(b"\n")
        if all(each.startswith(b":") for each in lines):
            comments += 1
            continue
        for each in lines:
            if each.startswith(b"event: "):
                name = each[7:].decode()
            else:
                assert each.startswith(b"data: "), payload
                assert data is None, payload
                data = each[6:]
        assert data is not None, payload
        events.append((name, data))
    return events, comments


def _hear_openai_stream(payload: bytes) -> Heard:
    events, comments = sse_events(payload)
    assert events[-1] == ("", b"[DONE]"), payload
    heard = Heard(pings=comments, events=[json.loads(data) for _, data in events[:-1]])
    for value in heard.events:
        assert heard.error is None, f"something follows the error in {payload!r}"
        if "error" in value:
            heard.error = value["error"]["message"]
            continue
        heard.text += "".join(_openai_text(choice) for choice in value["choices"])
        if value.get("usage"):
            heard.usage = value["usage"]["prompt_tokens"], value["usage"]["completion_tokens"]
    return heard


def _openai_text(choice: dict[str, Any]) -> str:
    said = choice.get("delta") or choice.get("message") or {}
    return choice.get("text") or said.get("content") or ""


def _hear_openai_document(value: Any) -> Heard:
    if "error" in value:
        assert {"message", "type", "code"} <= value["error"].keys()
        return Heard(error=value["error"]["message"], events=[value])
    usage = value["usage"]
    text = "".join(map(_openai_text, value["choices"]))
    return Heard(text, usage=(usage["prompt_tokens"], usage["completion_tokens"]), events=[value])


def _hear_anthropic_stream(payload: bytes) -> Heard:
    events, comments = sse_events(payload)
    assert not comments
    heard = Heard()
    prompt = 0
    for name, data in events:
        value = json.loads(data)
        heard.events.append(value)
        assert value["type"] == name
        match name:
            case "ping":
                heard.pings += 1
            case "error":
                assert (name, data) == events[-1], payload
                heard.error = value["error"]["message"]
            case "message_start":
                prompt = value["message"]["usage"]["input_tokens"]
            case "content_block_delta":
                heard.text += value["delta"].get("text", "")
            case "message_delta":
                prompt = value["usage"].get("input_tokens", prompt)
                heard.usage = prompt, value["usage"]["output_tokens"]
    assert events[-1][0] in ("message_stop", "error"), payload
    return heard


def _hear_anthropic_document(value: Any) -> Heard:
    if value["type"] == "error":
        return Heard(error=value["error"]["message"], events=[value])
    usage = value["usage"]["input_tokens"], value["usage"]["output_tokens"]
    return Heard("".join(block.get("text", "") for block in value["content"]), usage=usage, events=[value])


def _hear_responses_stream(payload: bytes) -> Heard:
    events, comments = sse_events(payload)
    heard = Heard(pings=comments)
    for name, data in events:
        value = json.loads(data)
        heard.events.append(value)
        assert value["type"] == name
        if name == "response.output_text.delta":
            heard.text += value["delta"]
    assert [value["sequence_number"] for value in heard.events] == list(range(len(heard.events)))
    names = [name for name, _ in events]
    if "error" in names:
        assert names.count("error") == 1
        assert names[-1] == "error"
        assert len(names) == 1 or names[-2] == "response.failed"
        heard.error = heard.events[-1]["message"]
    else:
        assert names[-1] in ("response.completed", "response.incomplete"), payload
        usage = heard.events[-1]["response"]["usage"]
        heard.usage = usage["input_tokens"], usage["output_tokens"]
    return heard


def _hear_responses_document(value: Any) -> Heard:
    if value.get("error"):
        return Heard(error=value["error"]["message"], events=[value])
    parts = [part for item in value["output"] if item["type"] == "message" for part in item["content"]]
    usage = value["usage"]["input_tokens"], value["usage"]["output_tokens"]
    return Heard("".join(part["text"] for part in parts), usage=usage, events=[value])


def _hear_ollama_stream(payload: bytes) -> Heard:
    lines = payload.split(b"\n")
    assert lines.pop() == b"", payload
    heard = Heard(events=[json.loads(each) for each in lines])  # a blank line is no JSON
    for number, value in enumerate(heard.events):
        is_last = number == len(heard.events) - 1
        if "error" in value:
            assert is_last
            heard.error = value["error"]
            continue
        heard.text += _ollama_text(value)
        assert value["done"] == is_last or "error" in heard.events[-1], payload
        if value["done"]:
            heard.usage = value["prompt_eval_count"], value["eval_count"]
    assert heard.error is not None or heard.events[-1]["done"], payload
    return heard


def _ollama_text(value: dict[str, Any]) -> str:
    text: str = value["message"]["content"] if "message" in value else value["response"]
    return text


def _hear_ollama_document(value: Any) -> Heard:
    if "error" in value:
        assert isinstance(value["error"], str)
        return Heard(error=value["error"], events=[value])
    return Heard(_ollama_text(value), usage=(value["prompt_eval_count"], value["eval_count"]), events=[value])


def _turns(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]}


_SSE = "text/event-stream"
_NDJSON = "application/x-ndjson"
DIALECTS = {
    "openai": CallersDialect("/v1/chat/completions", _turns, _hear_openai_stream, _hear_openai_document, _SSE),
    "completions": CallersDialect(
        "/v1/completions",
        lambda model: {"model": model, "prompt": "hi"},
        _hear_openai_stream,
        _hear_openai_document,
        _SSE,
    ),
    "anthropic": CallersDialect(
        "/v1/messages",
        lambda model: {**_turns(model), "max_tokens": 100},
        _hear_anthropic_stream,
        _hear_anthropic_document,
        _SSE,
    ),
    "responses": CallersDialect(
        "/v1/responses",
        lambda model: {"model": model, "input": "hi"},
        _hear_responses_stream,
        _hear_responses_document,
        _SSE,
    ),
    "ollama": CallersDialect("/api/chat", _turns, _hear_ollama_stream, _hear_ollama_document, _NDJSON),
    "generate": CallersDialect(
        "/api/generate",
        lambda model: {"model": model, "prompt": "hi"},
        _hear_ollama_stream,
        _hear_ollama_document,
        _NDJSON,
    ),
}
