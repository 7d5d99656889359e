"""Pure. An engine that speaks further dialects itself: `/v1/messages` and `/v1/responses` beside its own routes.

As vLLM does (entrypoints/anthropic/api_router.py, openai/responses/api_router.py) and Ollama since 0.14 (server/
routes.go). Off unless `--native` names them: then the routes are unknown, as in older versions.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from bench.backends.heads import Heads
from bench.backends.messages import Host, Messages
from bench.backends.prompts import Refusal
from bench.backends.responses import Responses
from bench.backends.settings import EngineSettings
from bench.backends.work import Reply, Work
from bench.http1 import Request

_MESSAGES = (b"/v1/messages", b"/v1/messages/count_tokens")
_RESPONSES = b"/v1/responses"


class Engine(Protocol):
    """The dialect that has them added."""

    @property
    def heads(self) -> Heads: ...

    def answer(self, request: Request, now_utc: int) -> Reply | Work: ...
    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply: ...
    def busy(self, now_utc: int, path: bytes) -> Reply: ...
    def resolve(self, model: str) -> str | None: ...


class WithNative:
    def __init__(self, settings: EngineSettings, engine: Engine, next_id: Callable[[], str]) -> None:
        self._engine = engine
        is_ollama = settings.kind == "ollama"
        num_ctx = settings.num_ctx if is_ollama else None
        host = Host(engine.heads, engine.resolve, next_id, False, head_at_once=not is_ollama, num_ctx=num_ctx)
        self._messages = Messages(settings, host) if "messages" in settings.native else None
        self._responses = (
            Responses(engine.heads, engine.resolve, next_id, not is_ollama, num_ctx)
            if "responses" in settings.native
            else None
        )
        # The server asks for a fault's error right after the answer that it takes the place of: in its dialect.
        self._is_messages = self._is_responses = False

    def answer(self, request: Request, now_utc: int) -> Reply | Work:
        path = request.path.split(b"?", 1)[0]
        self._is_messages = self._messages is not None and path in _MESSAGES
        is_below = path == _RESPONSES or path.startswith(_RESPONSES + b"/")
        self._is_responses = self._responses is not None and is_below
        if not self._is_messages and not self._is_responses:
            return self._engine.answer(request, now_utc)
        if request.method != b"POST" or (self._is_responses and path != _RESPONSES):
            return self.error(405, "Method Not Allowed", now_utc)
        try:
            return self._create(request, path, now_utc)
        except msgspec.MsgspecError as exc:
            return self.error(400, str(exc), now_utc)
        except Refusal as exc:
            return self.error(exc.status, exc.message, now_utc, exc.param)

    def _create(self, request: Request, path: bytes, now_utc: int) -> Reply | Work:
        if path == _RESPONSES:
            assert self._responses is not None
            return self._responses.create(request, now_utc)
        assert self._messages is not None
        if path == _MESSAGES[0]:
            return self._messages.create(request, now_utc)
        return self._messages.count_tokens(request, now_utc)

    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply:
        if self._is_messages and self._messages is not None:
            return self._messages.error(status, message, now_utc, extra)
        if self._is_responses:
            kind = "server_error" if status >= 500 else "invalid_request_error"
            body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": None}})
            return self._engine.heads.reply(status, body, "application/json", now_utc, extra)
        return self._engine.error(status, message, now_utc, param, extra)

    def busy(self, now_utc: int, path: bytes) -> Reply:
        return self._engine.busy(now_utc, path)
