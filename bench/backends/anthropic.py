"""Pure. Anthropic's API on the wire: messages, count_tokens, models; a key and a version are asked for.

Source: platform.claude.com/docs/en/api/overview, .../errors, .../versioning, .../models-list (read 2026-11). Any key
will do, in `x-api-key` or, as the SDKs send it since 2026-10-21, as a bearer token; models are those of `--model`.
Read next: `messages.py`, the answers; `anthropic_prompts.py`, what is refused.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from bench.backends.anthropic_prompts import VERSIONS
from bench.backends.faults import split_model
from bench.backends.heads import AnthropicHeads
from bench.backends.messages import Host, Messages
from bench.backends.prompts import Refusal
from bench.backends.settings import EngineSettings
from bench.backends.work import Reply, Work
from bench.http1 import Request

_CREATED_AT = "2026-01-15T00:00:00Z"
_ROUTES = (b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/models")


class Anthropic:
    def __init__(self, settings: EngineSettings, next_id: Callable[[], str]) -> None:
        self._models = settings.models
        self._heads = AnthropicHeads(next_id)
        host = Host(self._heads, self._resolve, next_id, is_anthropic=True, head_at_once=True)
        self._messages = Messages(settings, host)

    def _resolve(self, model: str) -> str | None:
        return model if split_model(model)[0] in self._models else None

    def answer(self, request: Request, now_utc: int) -> Reply | Work:
        refusal = self._check_headers(request, now_utc)
        if refusal is not None:
            return refusal
        try:
            return self._route(request, now_utc)
        except msgspec.MsgspecError as exc:
            return self.error(400, str(exc), now_utc)
        except Refusal as exc:
            return self.error(exc.status, exc.message, now_utc)

    def _check_headers(self, request: Request, now_utc: int) -> Reply | None:
        if not request.header(b"x-api-key") and not request.header(b"authorization").startswith(b"bearer "):
            return self.error(401, "x-api-key header is required", now_utc)
        version = request.header(b"anthropic-version").decode("latin-1")
        if not version:
            return self.error(400, "anthropic-version: header is required", now_utc)
        if version not in VERSIONS:
            return self.error(400, f'anthropic-version: "{version}" is not a valid version', now_utc)
        return None

    def _route(self, request: Request, now_utc: int) -> Reply | Work:
        path = request.path.split(b"?", 1)[0]
        match request.method, path:
            case b"POST", b"/v1/messages":
                return self._messages.create(request, now_utc)
            case b"POST", b"/v1/messages/count_tokens":
                return self._messages.count_tokens(request, now_utc)
            case b"GET", b"/v1/models":
                return self._list_models(now_utc)
        if request.method == b"GET" and path.startswith(b"/v1/models/"):
            return self._show_model(path[11:].decode(), now_utc)
        if path in _ROUTES:
            return self.error(405, "Method Not Allowed", now_utc)
        return self.error(404, "Not Found", now_utc)

    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply:
        del param  # the message names it
        return self._messages.error(status, message, now_utc, extra)

    def busy(self, now_utc: int, _path: bytes) -> Reply:
        return self.error(529, "Overloaded", now_utc)

    def _list_models(self, now_utc: int) -> Reply:
        cards = [_card(model) for model in self._models]
        ends = {"first_id": cards[0]["id"], "last_id": cards[-1]["id"]}
        return self._heads.json(200, {"data": cards, "has_more": False} | ends, now_utc)

    def _show_model(self, model: str, now_utc: int) -> Reply:
        if self._resolve(model) is None:
            return self.error(404, f"model: {model}", now_utc)
        return self._heads.json(200, _card(model), now_utc)


def _card(model: str) -> dict[str, Any]:
    name = model.replace("-", " ").title()
    card: dict[str, Any] = {"type": "model", "id": model, "display_name": name, "created_at": _CREATED_AT}
    return card | {"lifecycle": "active", "max_input_tokens": 200_000, "max_tokens": 64_000}
