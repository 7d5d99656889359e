"""Pure. vLLM's OpenAI server on the wire, field by field.

Source: vllm-project/vllm, vllm/entrypoints/openai/chat_completion/{protocol,serving}.py, completion/serving.py,
engine/protocol.py and serve/engine/protocol.py as of late 2025 (0.11 to 0.13), read 2026-11. Heads are uvicorn's
(httptools implementation): lower-case names, `date`, `server`, then the application's. Fields that pydantic's
`exclude_unset` drops are absent here, those set to None are null. One deviation: the finish chunk never carries a
token of its own, so that the number of content chunks is `usage.completion_tokens`.
"""

import email.utils
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.backends.faults import split_model
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
from bench.backends.settings import EngineSettings
from bench.backends.work import TOKEN_TEXT, Closing, Reply, Timing, Work, escape_template
from bench.http1 import Request

VERSION = "0.13.0"
MAX_MODEL_LEN = 131072
_SLOT = "@@TOKEN@@"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 429: "Too Many Requests"}
_REASONS |= {500: "Internal Server Error", 503: "Service Unavailable"}
_ERROR_TYPES = {400: "BadRequestError", 404: "NotFoundError", 429: "RateLimitError", 503: "ServiceUnavailableError"}

_decode_chat = msgspec.json.Decoder(ChatRequest).decode
_decode_completion = msgspec.json.Decoder(CompletionRequest).decode
_decode_embedding = msgspec.json.Decoder(EmbeddingRequest).decode


def dump(value: Any) -> bytes:
    return msgspec.json.encode(value)


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of completion on the wire: its events while streaming, and its whole answer."""

    id: str
    opening: tuple[dict[str, Any], ...]
    token: dict[str, Any]
    usage_chunk: dict[str, Any]
    finish: Callable[[str], bytes]
    whole: Callable[[str, str, dict[str, Any]], dict[str, Any]]


class Vllm:
    """Turns requests into replies and work. `now_utc` is wall time in whole seconds, ids come from `next_id`."""

    def __init__(self, settings: EngineSettings, next_id: Callable[[], str]) -> None:
        self._settings = settings
        self._next_id = next_id
        self._models = frozenset(settings.models)
        self._date = (0, b"")
        self.routes: dict[tuple[bytes, bytes], Callable[[Request, int], Reply | Work]] = {
            (b"POST", b"/v1/chat/completions"): self._chat,
            (b"POST", b"/v1/completions"): self._completion,
            (b"POST", b"/v1/embeddings"): self._embeddings,
            (b"GET", b"/v1/models"): self._list_models,
            (b"GET", b"/health"): lambda _request, now: self._reply(200, b"", "", now),
            (b"GET", b"/ping"): lambda _request, now: self._reply(200, b"", "", now),
            (b"GET", b"/version"): lambda _request, now: self._json(200, {"version": VERSION}, now),
        }

    def answer(self, request: Request, now_utc: int) -> Reply | Work:
        path = request.path.split(b"?", 1)[0]
        route = self.routes.get((request.method, path))
        if route is not None:
            return route(request, now_utc)
        if request.method == b"GET" and path.startswith(b"/v1/models/"):
            return self._show_model(path[11:].decode(), now_utc)
        if any(known == path for _, known in self.routes):
            return self.error(405, "Method Not Allowed", now_utc)
        return self.error(404, "Not Found", now_utc)

    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply:
        kind = _ERROR_TYPES.get(status, "InternalServerError" if status >= 500 else "BadRequestError")
        body = dump({"error": {"message": message, "type": kind, "param": param, "code": status}})
        return self._reply(status, body, "application/json", now_utc, extra)

    def busy(self, now_utc: int, _path: bytes) -> Reply:
        """vLLM has no queue limit of its own; this is for `--queue-limit`."""
        return self.error(503, "The engine's waiting queue is full.", now_utc)

    def metrics(self, running: int, waiting: int, prompt_tokens: int, generation_tokens: int, now_utc: int) -> Reply:
        label = f'{{engine="0",model_name="{self._settings.models[0]}"}}'
        usage = min(1.0, running / self._settings.max_num_seqs)
        gauges = {"num_requests_running": running, "num_requests_waiting": waiting, "kv_cache_usage_perc": usage}
        counters = {"prompt_tokens_total": prompt_tokens, "generation_tokens_total": generation_tokens}
        lines = [f"# TYPE vllm:{name} gauge\nvllm:{name}{label} {float(value)}\n" for name, value in gauges.items()]
        lines += [
            f"# TYPE vllm:{name} counter\nvllm:{name}{label} {float(value)}\n" for name, value in counters.items()
        ]
        return self._reply(200, "".join(lines).encode(), "text/plain; version=0.0.4; charset=utf-8", now_utc)

    def _head(self, status: int, now_utc: int) -> bytes:
        if self._date[0] != now_utc:
            date = email.utils.formatdate(now_utc, usegmt=True).encode()
            self._date = (now_utc, b"date: " + date + b"\r\nserver: uvicorn\r\n")
        return b"HTTP/1.1 %d %b\r\n%b" % (status, _REASONS[status].encode(), self._date[1])

    def _reply(self, status: int, body: bytes, content_type: str, now_utc: int, extra: bytes = b"") -> Reply:
        kind = f"content-type: {content_type}\r\n".encode() if content_type else b""
        head = b"%bcontent-length: %d\r\n%b%b\r\n" % (self._head(status, now_utc), len(body), kind, extra)
        return Reply(head + body, status)

    def _json(self, status: int, value: Any, now_utc: int) -> Reply:
        return self._reply(status, dump(value), "application/json", now_utc)

    def _has_model(self, model: str) -> bool:
        return split_model(model)[0] in self._models

    def _unknown_model(self, model: str, now_utc: int) -> Reply:
        return self.error(404, f"The model `{model}` does not exist.", now_utc, "model")

    def _show_model(self, model: str, now_utc: int) -> Reply:
        if not self._has_model(model):
            return self._unknown_model(model, now_utc)
        return self._json(200, self._card(model, now_utc), now_utc)

    def _list_models(self, _request: Request, now_utc: int) -> Reply:
        cards = [self._card(model, now_utc) for model in self._settings.models]
        return self._json(200, {"object": "list", "data": cards}, now_utc)

    @staticmethod
    def _card(model: str, now_utc: int) -> dict[str, Any]:
        allowed = ("allow_sampling", "allow_logprobs", "allow_view")
        denied = ("allow_create_engine", "allow_search_indices", "allow_fine_tuning")
        permission = {"id": "modelperm-mock", "object": "model_permission", "created": now_utc}
        permission |= dict.fromkeys(allowed, True) | dict.fromkeys(denied, False)
        permission |= {"organization": "*", "group": None, "is_blocking": False}
        card = {"id": model, "object": "model", "created": now_utc, "owned_by": "vllm", "root": model, "parent": None}
        return card | {"max_model_len": MAX_MODEL_LEN, "permission": [permission]}

    def _embeddings(self, request: Request, now_utc: int) -> Reply:
        try:
            wanted = _decode_embedding(request.body)
        except msgspec.MsgspecError as exc:
            return self.error(400, str(exc), now_utc)
        if not self._has_model(wanted.model):
            return self._unknown_model(wanted.model, now_utc)
        texts = input_texts(wanted.input)
        vectors = [embed_text(text, self._settings.embedding_dimensions, self._settings.seed) for text in texts]
        data = [
            {"index": index, "object": "embedding", "embedding": encode_vector(vector, wanted.encoding_format)}
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(count_prompt_tokens(len(text)) for text in texts)
        usage = _usage(tokens, 0) | {"prompt_tokens_details": None}
        answer = {"id": f"embd-{self._next_id()}", "object": "list", "created": now_utc, "model": wanted.model}
        return self._json(200, answer | {"data": data, "usage": usage}, now_utc)

    def _chat(self, request: Request, now_utc: int) -> Reply | Work:
        try:
            wanted = _decode_chat(request.body)
        except msgspec.MsgspecError as exc:
            return self.error(400, str(exc), now_utc)
        if not self._has_model(wanted.model):
            return self._unknown_model(wanted.model, now_utc)
        return self._work(request, wanted, wanted.token_limit, self._chat_shape(wanted.model, now_utc), now_utc)

    def _chat_shape(self, model: str, now_utc: int) -> Shape:
        chat_id = f"chatcmpl-{self._next_id()}"
        base = {"id": chat_id, "object": "chat.completion.chunk", "created": now_utc, "model": model}
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        opening = base | {"choices": [choice], "prompt_token_ids": None}
        token = base | {"choices": [choice | {"delta": {"content": _SLOT}, "token_ids": None}]}

        def finish(reason: str) -> bytes:
            last = choice | {"delta": {"content": ""}, "finish_reason": reason, "stop_reason": None, "token_ids": None}
            return dump(base | {"choices": [last]})

        def whole(text: str, reason: str, usage: dict[str, Any]) -> dict[str, Any]:
            message = {"role": "assistant", "content": text, "refusal": None, "annotations": None, "audio": None}
            message |= {"function_call": None, "reasoning": None}
            last = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason, "stop_reason": None}
            answer = base | {"object": "chat.completion", "choices": [last | {"token_ids": None}], "service_tier": None}
            answer |= {"system_fingerprint": None, "usage": usage | {"prompt_tokens_details": None}}
            return answer | {"prompt_logprobs": None, "prompt_token_ids": None, "kv_transfer_params": None}

        return Shape(chat_id, (opening,), token, base | {"choices": []}, finish, whole)

    def _completion(self, request: Request, now_utc: int) -> Reply | Work:
        try:
            wanted = _decode_completion(request.body)
        except msgspec.MsgspecError as exc:
            return self.error(400, str(exc), now_utc)
        if not self._has_model(wanted.model):
            return self._unknown_model(wanted.model, now_utc)
        return self._work(request, wanted, wanted.max_tokens, self._text_shape(wanted.model, now_utc), now_utc)

    def _text_shape(self, model: str, now_utc: int) -> Shape:
        text_id = f"cmpl-{self._next_id()}"
        base = {"id": text_id, "object": "text_completion", "created": now_utc, "model": model}
        choice = {"index": 0, "text": _SLOT, "logprobs": None, "finish_reason": None, "stop_reason": None}
        choice |= {"prompt_token_ids": None, "token_ids": None}
        token = base | {"choices": [choice], "usage": None}

        def finish(reason: str) -> bytes:
            return dump(base | {"choices": [choice | {"text": "", "finish_reason": reason}], "usage": None})

        def whole(text: str, reason: str, usage: dict[str, Any]) -> dict[str, Any]:
            last = choice | {"text": text, "finish_reason": reason, "prompt_logprobs": None}
            answer = base | {"choices": [last], "service_tier": None, "system_fingerprint": None}
            return answer | {"usage": usage | {"prompt_tokens_details": None}, "kv_transfer_params": None}

        return Shape(text_id, (), token, base | {"choices": []}, finish, whole)

    def _work(
        self,
        request: Request,
        wanted: ChatRequest | CompletionRequest,
        limit: int | None,
        shape: Shape,
        now_utc: int,
    ) -> Reply | Work:
        if limit is not None and limit < 1:
            return self.error(400, f"max_tokens must be at least 1, got {limit}.", now_utc, "max_tokens")
        prompt_tokens = count_prompt_tokens(len(request.body))
        reason = "stop" if limit is None else "length"
        stream = bool(wanted.stream)
        wants_usage = wanted.stream_options is not None and bool(wanted.stream_options.include_usage)

        def close(_timing: Timing, sent: int) -> Closing:
            events = [_event(shape.finish(reason))]
            if wants_usage:
                events.append(_event(dump(shape.usage_chunk | {"usage": _usage(prompt_tokens, sent)})))
            return Closing((*events, b"data: [DONE]\n\n"), 1 if wants_usage else None)

        def answer(timing: Timing, sent: int) -> bytes:
            value = shape.whole(filler(sent, timing.ended_ns), reason, _usage(prompt_tokens, sent))
            return self._json(200, value, now_utc).data

        head = (
            self._head(200, now_utc)
            + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        return Work(
            model=wanted.model,
            route=request.path.decode(),
            id=shape.id,
            prompt_tokens=prompt_tokens,
            completion_tokens=self._settings.answer_tokens if limit is None else limit,
            stream=stream,
            head=head,
            head_at_once=True,
            # Encoded only where they are sent: half of what an answer that does not stream would cost here.
            opening=tuple(_event(dump(chunk)) for chunk in shape.opening) if stream else (),
            event=_template(shape.token) if stream else b"",
            is_dated=False,
            closing=close,
            whole=answer,
            fault=split_model(wanted.model)[1],
        )


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "total_tokens": total, "completion_tokens": completion_tokens}


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _template(token: dict[str, Any]) -> bytes:
    return escape_template(_event(dump(token))).replace(_SLOT.encode(), TOKEN_TEXT)
