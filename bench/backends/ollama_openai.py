"""Pure. Ollama's OpenAI-compatible endpoints, field by field, in front of its own.

Source: ollama/ollama openai/openai.go and middleware/openai.go (main, read 2026-11). Against vLLM's: no role chunk
(every delta says assistant), `system_fingerprint: fp_ollama`, short ids, no null fields, errors with `code: null`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.backends.faults import split_model
from bench.backends.ollama import BUSY, Ollama
from bench.backends.ollama_scripted import call_id, done_reason
from bench.backends.openai_json import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    count_prompt_tokens,
    embed_text,
    encode_vector,
    filler,
    input_texts,
)
from bench.backends.openai_prompts import read_chat, read_completion
from bench.backends.prompts import Prompt, Refusal, is_special_text, may_be_special
from bench.backends.scripts import CALL, TEXT, TOOL_CALLS, Script, Token, write_script
from bench.backends.settings import EngineSettings
from bench.backends.vllm import count_prompt
from bench.backends.vllm_scripted import tool_delta
from bench.backends.work import TOKEN_TEXT, Closing, Reply, Timing, Work, escape_template
from bench.http1 import Request

_CREATED = 1768471200
_SLOT = "@@TOKEN@@"
_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error"}
_STREAM_ERROR = {"message": "mock fault: error_event", "type": "api_error", "param": None, "code": None}

_decode_chat = msgspec.json.Decoder(ChatRequest).decode
_decode_completion = msgspec.json.Decoder(CompletionRequest).decode
_decode_embedding = msgspec.json.Decoder(EmbeddingRequest).decode


@dataclass(frozen=True, slots=True)
class Shape:
    base: dict[str, Any]
    choice: Callable[[str, str | None], dict[str, Any]]  # (text, finish reason) -> a chunk's choice
    whole: Callable[[str, str], dict[str, Any]]  # (text, finish reason)


class OllamaWithOpenai:
    """`Ollama` plus `/v1`."""

    def __init__(self, settings: EngineSettings, native: Ollama) -> None:
        self._settings = settings
        self._native = native
        self.heads = native.heads
        self._count = 0
        # The server asks for a fault's error right after the answer that it takes the place of: in its dialect.
        self._is_openai = False
        self._routes: dict[tuple[bytes, bytes], Callable[[Request, int], Reply | Work]] = {
            (b"POST", b"/v1/chat/completions"): self._chat,
            (b"POST", b"/v1/completions"): self._completion,
            (b"POST", b"/v1/embeddings"): self._embeddings,
            (b"GET", b"/v1/models"): self._list_models,
        }

    def answer(self, request: Request, now_utc: int) -> Reply | Work:
        path = request.path.split(b"?", 1)[0]
        route = self._routes.get((request.method, path))
        if route is None and request.method == b"GET" and path.startswith(b"/v1/models/"):
            route = self._show_model
        self._is_openai = route is not None
        if route is None:
            return self._native.answer(request, now_utc)
        try:
            return route(request, now_utc)
        except msgspec.MsgspecError as exc:
            return self._openai_error(400, str(exc), now_utc)
        except Refusal as exc:
            return self._openai_error(exc.status, exc.message, now_utc)

    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply:
        if self._is_openai:
            return self._openai_error(status, message, now_utc, extra)
        return self._native.error(status, message, now_utc, param, extra)

    def busy(self, now_utc: int, path: bytes) -> Reply:
        if path.startswith(b"/v1/"):
            return self._openai_error(503, BUSY, now_utc)
        return self._native.busy(now_utc, path)

    def resolve(self, model: str) -> str | None:
        return self._native.resolve(model)

    def _openai_error(self, status: int, message: str, now_utc: int, extra: bytes = b"") -> Reply:
        kind = _ERROR_TYPES.get(status, "api_error")
        error = {"message": message, "type": kind, "param": None, "code": None}
        return self._native.heads.reply(
            status, msgspec.json.encode({"error": error}), "application/json", now_utc, extra
        )

    def _json(self, value: Any, now_utc: int) -> Reply:
        # json.NewEncoder ends its output with a newline, and the middleware sets a bare content type.
        return self._native.heads.reply(200, msgspec.json.encode(value) + b"\n", "application/json", now_utc)

    def _list_models(self, _request: Request, now_utc: int) -> Reply:
        return self._json({"object": "list", "data": [_card(name) for name in self._native.names]}, now_utc)

    def _show_model(self, request: Request, now_utc: int) -> Reply:
        model = request.path[11:].decode()
        self._native.require(model)
        return self._json(_card(model), now_utc)

    def _embeddings(self, request: Request, now_utc: int) -> Reply:
        wanted = _decode_embedding(request.body)
        self._native.require(wanted.model)
        if isinstance(wanted.input, list) and not all(isinstance(item, str) for item in wanted.input):
            raise Refusal("invalid input type")
        texts = input_texts(wanted.input)
        dimensions = wanted.dimensions or self._settings.embedding_dimensions
        vectors = [embed_text(text, dimensions, self._settings.seed) for text in texts]
        data = [
            {"object": "embedding", "embedding": encode_vector(vector, wanted.encoding_format), "index": index}
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(count_prompt_tokens(len(text)) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return self._json({"object": "list", "data": data, "model": wanted.model, "usage": usage}, now_utc)

    def _chat(self, request: Request, now_utc: int) -> Reply | Work:
        wanted = _decode_chat(request.body)
        if not wanted.messages:
            return self._openai_error(400, "[] is too short - 'messages'", now_utc)
        base = self._base("chatcmpl", "chat.completion.chunk", wanted.model, now_utc)

        def choice(text: str, reason: str | None) -> dict[str, Any]:
            return {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}

        def whole(text: str, reason: str) -> dict[str, Any]:
            message = {"role": "assistant", "content": text}
            choices = [{"index": 0, "message": message, "finish_reason": reason}]
            return base | {"object": "chat.completion", "choices": choices}

        shape = Shape(base, choice, whole)
        plain = self._work(request, wanted, wanted.token_limit, shape, now_utc)
        if (wanted.is_special or may_be_special(wanted.messages)) and isinstance(plain, Work):
            prompt = read_chat(wanted, is_ollama=True)
            return self._script(wanted, prompt, plain, shape, now_utc) if prompt.is_special else plain
        return plain

    def _completion(self, request: Request, now_utc: int) -> Reply | Work:
        wanted = _decode_completion(request.body)
        base = self._base("cmpl", "text_completion", wanted.model, now_utc)

        def choice(text: str, reason: str | None) -> dict[str, Any]:
            return {"text": text, "index": 0, "finish_reason": reason}

        def whole(text: str, reason: str) -> dict[str, Any]:
            return base | {"choices": [choice(text, reason)]}

        shape = Shape(base, choice, whole)
        plain = self._work(request, wanted, wanted.max_tokens, shape, now_utc)
        if (wanted.is_special or is_special_text(msgspec.json.decode(wanted.prompt))) and isinstance(plain, Work):
            if not isinstance(msgspec.json.decode(wanted.prompt), str):
                raise Refusal(
                    "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string"
                )
            (prompt,) = read_completion(wanted)
            return self._script(wanted, prompt, plain, shape, now_utc) if prompt.is_special else plain
        return plain

    def _script(
        self, wanted: ChatRequest | CompletionRequest, prompt: Prompt, plain: Work, shape: Shape, now_utc: int
    ) -> Work:
        """The plain work with an answer that the prompt chooses in place of its own."""
        script, id_ = write_script(prompt), shape.base["id"]

        def close(_timing: Timing, sent: int) -> Closing:
            events = [_event(shape.base | {"choices": [shape.choice("", _finish_reason(script))]})]
            if wanted.wants_usage:
                events.append(_event(shape.base | {"choices": [], "usage": _usage(plain.prompt_tokens, sent)}))
            return Closing((*events, b"data: [DONE]\n\n"), 1 if wanted.wants_usage else None)

        def answer(_timing: Timing, sent: int) -> bytes:
            value = shape.whole(script.text, _finish_reason(script)) | {"usage": _usage(plain.prompt_tokens, sent)}
            _complete_message(value["choices"][0].get("message"), script, id_)
            return self._json(value, now_utc).data

        return msgspec.structs.replace(
            plain,
            completion_tokens=len(script.tokens),
            script=tuple(_token_events(shape, script, token, self._settings.tool_style) for token in script.tokens),
            closing=close,
            whole=answer,
            reasoning_tokens=script.reasoning_tokens,
        )

    def _base(self, prefix: str, kind: str, model: str, now_utc: int) -> dict[str, Any]:
        self._count += 1
        base = {"id": f"{prefix}-{self._count}", "object": kind, "created": now_utc, "model": model}
        return base | {"system_fingerprint": "fp_ollama"}

    def _work(
        self, request: Request, wanted: ChatRequest | CompletionRequest, limit: int | None, shape: Shape, now_utc: int
    ) -> Reply | Work:
        model = self._native.require(wanted.model)
        prompt_tokens = count_prompt(wanted)
        reason = "stop" if limit is None else "length"

        def close(_timing: Timing, sent: int) -> Closing:
            events = [_event(shape.base | {"choices": [shape.choice("", reason)]})]
            if wanted.wants_usage:
                events.append(_event(shape.base | {"choices": [], "usage": _usage(prompt_tokens, sent)}))
            return Closing((*events, b"data: [DONE]\n\n"), 1 if wanted.wants_usage else None)

        def answer(timing: Timing, sent: int) -> bytes:
            value = shape.whole(filler(sent, timing.ended_ns), reason) | {"usage": _usage(prompt_tokens, sent)}
            return self._json(value, now_utc).data

        head = self._native.heads.stream("text/event-stream", now_utc)
        token = _event(shape.base | {"choices": [shape.choice(_SLOT, None)]})
        return Work(
            model=split_model(model)[0],
            route=request.path.decode(),
            id=shape.base["id"],
            prompt_tokens=prompt_tokens,
            completion_tokens=self._settings.answer_tokens if limit is None or limit < 1 else limit,
            stream=bool(wanted.stream),
            head=head,
            head_at_once=False,
            opening=(),
            event=escape_template(token).replace(_SLOT.encode(), TOKEN_TEXT),
            is_dated=False,
            closing=close,
            whole=answer,
            fault=split_model(model)[1],
            failure=FAILURE,
            num_ctx=self._settings.num_ctx,
        )


def _finish_reason(script: Script) -> str:
    return TOOL_CALLS if script.finish == TOOL_CALLS else done_reason(script)


def _token_events(shape: Shape, script: Script, token: Token, tool_style: str) -> tuple[bytes, ...]:
    choice = shape.choice(token.text if token.kind == TEXT else "", None)
    if token.kind == CALL:
        delta = tool_delta(tool_style, script, token, call_id(shape.base["id"], token.call))
        if not delta:
            return ()
        choice["delta"] |= delta
    elif token.kind != TEXT:
        choice["delta"] |= {"reasoning": token.text}
    return (_event(shape.base | {"choices": [choice]}),)


def _complete_message(message: dict[str, Any] | None, script: Script, work_id: str) -> None:
    """Add to a chat's message what is not text."""
    if message is None:
        return
    if script.thinking:
        message["reasoning"] = script.thinking
    calls = []
    for number, call in script.whole_calls:
        function = {"name": call.name, "arguments": call.arguments}
        calls.append({"id": call_id(work_id, number), "index": number, "type": "function", "function": function})
    if calls:
        message["tool_calls"] = calls


def _card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "library"}


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


FAILURE = (_event({"error": _STREAM_ERROR}),)
