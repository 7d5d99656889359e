"""Pure. `POST /v1/messages` and its count_tokens: Anthropic's, and those that vLLM and Ollama serve themselves.

Source: docs.claude.com/en/api/messages-streaming (read 2026-11), anthropic-sdk-python types/raw_*_event.py 2.11. A
plain answer is one text block of stamped tokens, like those of the other mocks.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.backends.anthropic_prompts import MessagesRequest, count_input, read_prompt, sign
from bench.backends.faults import split_model
from bench.backends.heads import Heads
from bench.backends.openai_json import filler
from bench.backends.prompts import Refusal
from bench.backends.scripts import LENGTH, STOP, STOP_SEQUENCE, TEXT, THINKING, TOOL_CALLS, Script, Token, write_script
from bench.backends.settings import EngineSettings
from bench.backends.work import TOKEN_TEXT, Closing, Reply, Timing, Work, escape_template
from bench.http1 import Request

Json = dict[str, Any]
PING_EVERY_TOKENS = 32
_SLOT = "@@TOKEN@@"
_STOP_REASONS = {STOP: "end_turn", LENGTH: "max_tokens", TOOL_CALLS: "tool_use", STOP_SEQUENCE: "stop_sequence"}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}

_decode = msgspec.json.Decoder(MessagesRequest).decode


def encode_event(value: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), msgspec.json.encode(value))


def error_body(status: int, message: str, request_id: str = "") -> bytes:
    error = {"type": _ERROR_TYPES.get(status, "api_error"), "message": message}
    body: Json = {"type": "error", "error": error}
    return msgspec.json.encode(body | ({"request_id": request_id} if request_id else {}))


PING = encode_event({"type": "ping"})
_OVERLOADED = {"type": "overloaded_error", "message": "mock fault: error_event"}
FAILURE = (encode_event({"type": "error", "error": _OVERLOADED}),)


@dataclass(frozen=True, slots=True)
class Host:
    """Who serves the route."""

    heads: Heads
    resolve: Callable[[str], str | None]  # a model's full name, fault suffix kept; None if it is not served
    next_id: Callable[[], str]
    is_anthropic: bool  # strict, with pings; else an engine that serves the route as well
    head_at_once: bool
    num_ctx: int | None = None


class Messages:
    def __init__(self, settings: EngineSettings, host: Host) -> None:
        self._settings = settings
        self._host = host

    def error(self, status: int, message: str, now_utc: int, extra: bytes = b"") -> Reply:
        request_id = f"req_{self._host.next_id()}" if self._host.is_anthropic else ""
        body = error_body(status, message, request_id)
        return self._host.heads.reply(status, body, "application/json", now_utc, extra)

    def count_tokens(self, request: Request, now_utc: int) -> Reply:
        wanted = _decode(request.body)
        if self._host.resolve(wanted.model) is None:
            return self._unknown_model(wanted.model, now_utc)
        return self._host.heads.json(200, {"input_tokens": count_input(request.body)}, now_utc)

    def _unknown_model(self, model: str, now_utc: int) -> Reply:
        return self.error(404, f"model: {model}", now_utc)

    def create(self, request: Request, now_utc: int) -> Reply | Work:
        """Raises Refusal and msgspec's errors for what the engine answers with 400."""
        wanted = _decode(request.body)
        model = self._host.resolve(wanted.model)
        if model is None:
            return self._unknown_model(wanted.model, now_utc)
        version = request.header(b"anthropic-version").decode("latin-1") if self._host.is_anthropic else ""
        prompt = read_prompt(wanted, request.body, version)
        if prompt.limit is not None and prompt.limit < 1:
            raise Refusal("max_tokens: Input should be greater than or equal to 1")
        shape = Shape(f"msg_{self._host.next_id()}", wanted.model, count_input(request.body), self._host.is_anthropic)
        if not prompt.is_special:
            return self._plain(request, wanted, model, shape, now_utc)
        script = write_script(prompt)
        shape = dataclasses.replace(shape, cached_tokens=shape.prompt_tokens // 2 if script.is_cached else 0)
        plain = self._plain(request, wanted, model, shape, now_utc)

        def whole(_timing: Timing, sent: int) -> bytes:
            value = shape.whole(whole_blocks(shape, script), script.finish, script.stop_sequence, sent, script)
            return self._host.heads.json(200, value, now_utc).data

        events, last = script_events(shape, script)
        return msgspec.structs.replace(
            plain,
            completion_tokens=len(script.tokens),
            opening=(shape.start(),),
            script=events,
            closing=lambda _timing, sent: Closing(
                (*last, *shape.end(script.finish, script.stop_sequence, sent, script))
            ),
            whole=whole,
            cached_tokens=shape.cached_tokens,
            reasoning_tokens=script.reasoning_tokens,
        )

    def _plain(self, request: Request, wanted: MessagesRequest, model: str, shape: "Shape", now_utc: int) -> Work:
        limit, host = wanted.max_tokens, self._host
        finish = STOP if limit is None else LENGTH
        block = encode_event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        stop = encode_event({"type": "content_block_stop", "index": 0})
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _SLOT}}

        def whole(timing: Timing, sent: int) -> bytes:
            blocks = [{"type": "text", "text": filler(sent, timing.ended_ns)}]
            return host.heads.json(200, shape.whole(blocks, finish, None, sent), now_utc).data

        return Work(
            model=split_model(model)[0],
            route=request.path.decode(),
            id=shape.id,
            prompt_tokens=shape.prompt_tokens,
            completion_tokens=self._settings.answer_tokens if limit is None else limit,
            stream=bool(wanted.stream),
            head=host.heads.stream("text/event-stream; charset=utf-8", now_utc),
            head_at_once=host.head_at_once,
            opening=(shape.start(), block, *([PING] if host.is_anthropic else [])),
            event=escape_template(encode_event(delta)).replace(_SLOT.encode(), TOKEN_TEXT),
            is_dated=False,
            closing=lambda _timing, sent: Closing((stop, *shape.end(finish, None, sent))),
            whole=whole,
            fault=split_model(model)[1],
            failure=FAILURE,
            num_ctx=host.num_ctx,
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """What all events of one message share."""

    id: str
    model: str
    prompt_tokens: int
    has_pings: bool
    cached_tokens: int = 0

    def usage(self, output_tokens: int, script: Script | None = None) -> Json:
        usage: Json = {"input_tokens": self.prompt_tokens - self.cached_tokens, "cache_creation_input_tokens": 0}
        usage |= {"cache_read_input_tokens": self.cached_tokens, "output_tokens": output_tokens}
        if script is not None and script.reasoning_tokens:
            usage["output_tokens_details"] = {"thinking_tokens": script.reasoning_tokens}
        return usage

    def message(self, content: list[Json], usage: Json) -> Json:
        message: Json = {"model": self.model, "id": self.id, "type": "message", "role": "assistant"}
        message |= {"content": content, "stop_reason": None, "stop_sequence": None}
        return message | {"usage": usage | {"service_tier": "standard"}}

    def start(self) -> bytes:
        return encode_event({"type": "message_start", "message": self.message([], self.usage(1))})

    def end(
        self, finish: str, stop_sequence: str | None, sent: int, script: Script | None = None
    ) -> tuple[bytes, bytes]:
        delta = {"stop_reason": _STOP_REASONS[finish], "stop_sequence": stop_sequence}
        usage = self.usage(sent, script)
        last = encode_event({"type": "message_delta", "delta": delta, "usage": usage})
        return last, encode_event({"type": "message_stop"})

    def whole(
        self, blocks: list[Json], finish: str, stop_sequence: str | None, sent: int, script: Script | None = None
    ) -> Json:
        ended = {"stop_reason": _STOP_REASONS[finish], "stop_sequence": stop_sequence}
        return self.message(blocks, self.usage(sent, script)) | ended

    def call_id(self, number: int) -> str:
        return f"toolu_{self.id.removeprefix('msg_')}{number:02d}"


def script_events(shape: Shape, script: Script) -> tuple[tuple[tuple[bytes, ...], ...], tuple[bytes, ...]]:
    """Per token its events, a block's begin and the end of the one before it included; and what ends the last block."""
    made: list[tuple[bytes, ...]] = []
    index, current = -1, ("", -1)
    for number, token in enumerate(script.tokens):
        events: list[bytes] = []
        if (token.kind, token.call) != current:
            events += _end_block(script, current[0], index)
            index, current = index + 1, (token.kind, token.call)
            events.append(_begin_block(shape, script, token, index))
        if shape.has_pings and number % PING_EVERY_TOKENS == 0:
            events.append(PING)
        if token.text or token.kind not in (TEXT, THINKING):
            events.append(encode_event({"type": "content_block_delta", "index": index, "delta": _delta(token)}))
        made.append(tuple(events))
    return tuple(made), tuple(_end_block(script, current[0], index))


def _begin_block(shape: Shape, script: Script, token: Token, index: int) -> bytes:
    if token.kind == THINKING:
        block: Json = {"type": "thinking", "thinking": "", "signature": ""}
    elif token.kind == TEXT:
        block = {"type": "text", "text": ""}
    else:
        block = {
            "type": "tool_use",
            "id": shape.call_id(token.call),
            "name": script.calls[token.call].name,
            "input": {},
        }
    return encode_event({"type": "content_block_start", "index": index, "content_block": block})


def _delta(token: Token) -> Json:
    if token.kind == THINKING:
        return {"type": "thinking_delta", "thinking": token.text}
    if token.kind == TEXT:
        return {"type": "text_delta", "text": token.text}
    return {"type": "input_json_delta", "partial_json": token.text}


def _end_block(script: Script, kind: str, index: int) -> list[bytes]:
    if not kind:
        return []
    events = []
    if kind == THINKING:
        delta = {"type": "signature_delta", "signature": sign(script.thinking)}
        events.append(encode_event({"type": "content_block_delta", "index": index, "delta": delta}))
    return [*events, encode_event({"type": "content_block_stop", "index": index})]


def whole_blocks(shape: Shape, script: Script) -> list[Json]:
    blocks: list[Json] = []
    if script.thinking:
        blocks.append({"type": "thinking", "thinking": script.thinking, "signature": sign(script.thinking)})
    if script.text:
        blocks.append({"type": "text", "text": script.text})
    for number, call in script.whole_calls:
        arguments = msgspec.json.decode(call.arguments)
        blocks.append({"type": "tool_use", "id": shape.call_id(number), "name": call.name, "input": arguments})
    return blocks
