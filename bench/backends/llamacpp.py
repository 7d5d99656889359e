"""Pure. llama.cpp's server, as far as it is not vLLM's: its tokenizer and its properties, in front of the same chats.

Source: ggml-org/llama.cpp tools/server/README.md and server-context.cpp (main, read 2026-11). `/v1/…/input_tokens`,
which newer versions have as well, is not here: gateways have to do without it, too.
"""

from typing import Any, Protocol

import msgspec

from bench.backends.heads import Heads
from bench.backends.openai_json import ChatRequest
from bench.backends.openai_prompts import read_chat
from bench.backends.prompt_tokens import apply_template, count_text, template_variables
from bench.backends.prompts import Refusal
from bench.backends.settings import EngineSettings
from bench.backends.work import Reply, Work
from bench.http1 import Request

N_CTX = 131072
BUILD_INFO = "b7000-mock"


class TokenizeRequest(msgspec.Struct):
    """`content`: a text, or texts and token ids mixed; without it there are no tokens."""

    content: str | list[Any] = ""
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


_decode_chat = msgspec.json.Decoder(ChatRequest).decode
_decode_tokenize = msgspec.json.Decoder(TokenizeRequest).decode


class Engine(Protocol):
    """The dialect of the chats: vLLM's."""

    @property
    def heads(self) -> Heads: ...

    def answer(self, request: Request, now_utc: int) -> Reply | Work: ...
    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply: ...
    def busy(self, now_utc: int, path: bytes) -> Reply: ...
    def resolve(self, model: str) -> str | None: ...


class Llamacpp:
    def __init__(self, settings: EngineSettings, chats: Engine) -> None:
        self._settings = settings
        self._chats = chats
        self.heads = chats.heads
        self._routes = {
            (b"POST", b"/tokenize"): self._tokenize,
            (b"POST", b"/apply-template"): self._apply_template,
            (b"GET", b"/props"): self._props,
        }

    def answer(self, request: Request, now_utc: int) -> Reply | Work:
        route = self._routes.get((request.method, request.path.split(b"?", 1)[0]))
        if route is None:
            return self._chats.answer(request, now_utc)
        try:
            return route(request, now_utc)
        except msgspec.MsgspecError as exc:
            return self.error(400, str(exc), now_utc)
        except Refusal as exc:
            return self.error(exc.status, exc.message, now_utc, exc.param)

    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply:
        return self._chats.error(status, message, now_utc, param, extra)

    def busy(self, now_utc: int, path: bytes) -> Reply:
        return self._chats.busy(now_utc, path)

    def resolve(self, model: str) -> str | None:
        return self._chats.resolve(model)

    def _props(self, _request: Request, now_utc: int) -> Reply:
        properties = {"default_generation_settings": {"id": 0, "n_ctx": N_CTX}, "build_info": BUILD_INFO}
        slots = {"total_slots": self._settings.max_num_seqs, "model_path": self._settings.models[0]}
        return self.heads.json(200, properties | slots, now_utc)

    def _apply_template(self, request: Request, now_utc: int) -> Reply:
        """The request is read as a chat is: what that refuses, this does."""
        wanted = _decode_chat(request.body)
        read_chat(wanted)
        variables = template_variables(wanted.chat_template_kwargs, wanted.reasoning_effort)
        prompt = apply_template(wanted.messages, wanted.tools, variables)
        return self.heads.json(200, {"prompt": prompt.decode()}, now_utc)

    def _tokenize(self, request: Request, now_utc: int) -> Reply:
        """Chats and completions tokenize with `add_special`: without it a BOS token is missing, as it would be."""
        wanted = _decode_tokenize(request.body)
        content = wanted.content if isinstance(wanted.content, list) else [wanted.content]
        count = sum(count_text(part) if isinstance(part, str) else 1 for part in content) if any(content) else 0
        tokens = list(range(count if wanted.add_special else max(0, count - 1)))
        pieces = [{"id": token, "piece": "x"} for token in tokens]
        return self.heads.json(200, {"tokens": pieces if wanted.with_pieces else tokens}, now_utc)
