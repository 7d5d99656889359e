"""Pure. vLLM's OpenAI server on the wire, field by field.

Source: vllm-project/vllm, vllm/entrypoints/openai/chat_completion/{protocol,serving}.py, completion/serving.py,
engine/protocol.py as of late 2025 (0.11 to 0.13), read 2026-11. Heads are uvicorn's (httptools implementation). Fields
that pydantic's `exclude_unset` drops are absent here, those set to None are null. One deviation: the finish chunk
never carries a token of its own, so that the number of content chunks is `usage.completion_tokens`.
Read next: `vllm_shapes.py`, the JSON itself; `vllm_scripted.py`, answers that the prompt chooses; `vllm_media.py`.
"""

from collections.abc import Callable

import msgspec

from bench.backends.faults import split_model
from bench.backends.heads import UvicornHeads
from bench.backends.openai_json import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    count_input_tokens,
    embed_text,
    encode_vector,
    filler,
    input_texts,
)
from bench.backends.openai_prompts import read_chat, read_completion
from bench.backends.prompt_tokens import apply_template, count_prompts, count_text, template_variables
from bench.backends.prompts import Prompt, Refusal, is_special_text, may_be_special
from bench.backends.scripts import write_script
from bench.backends.settings import EngineSettings
from bench.backends.vllm_media import ImageRequest, SpeechRequest, draw, speak
from bench.backends.vllm_scripted import (
    chat_events,
    closing_of,
    count_cached,
    openings,
    text_events,
    usage_of_script,
    whole_chat,
    whole_text,
)
from bench.backends.vllm_shapes import (
    Json,
    Shape,
    chat_shape,
    metrics_text,
    model_card,
    sse_event,
    text_shape,
    token_template,
    usage_of,
)
from bench.backends.work import Closing, Counts, Reply, Timing, Work
from bench.http1 import Request

VERSION = "0.13.0"
MAX_MODEL_LEN = 131072
_ERROR_TYPES = {400: "BadRequestError", 404: "NotFoundError", 429: "RateLimitError", 503: "ServiceUnavailableError"}
_STREAM_ERROR = {"message": "mock fault: error_event", "type": "InternalServerError", "param": None, "code": 500}
FAILURE = (sse_event({"error": _STREAM_ERROR}), b"data: [DONE]\n\n")


class TokenizeRequest(msgspec.Struct):
    model: str | None = None
    prompt: str | None = None
    messages: list[msgspec.Raw] | None = None
    tools: list[Json] | None = None
    chat_template_kwargs: Json | None = None
    add_generation_prompt: bool = True


_decode_tokenize = msgspec.json.Decoder(TokenizeRequest).decode
_decode_chat = msgspec.json.Decoder(ChatRequest).decode
_decode_completion = msgspec.json.Decoder(CompletionRequest).decode
_decode_embedding = msgspec.json.Decoder(EmbeddingRequest).decode
_decode_speech = msgspec.json.Decoder(SpeechRequest).decode
_decode_image = msgspec.json.Decoder(ImageRequest).decode


class Vllm:
    """Turns requests into replies and work. `now_utc` is wall time in whole seconds."""

    def __init__(self, settings: EngineSettings, next_id: Callable[[], str], counts: Callable[[], Counts]) -> None:
        self._settings = settings
        self._next_id = next_id
        self._counts = counts
        self._models = frozenset(settings.models)
        self.heads = UvicornHeads()
        self._routes: dict[tuple[bytes, bytes], Callable[[Request, int], Reply | Work]] = {
            (b"POST", b"/v1/chat/completions"): self._chat,
            (b"POST", b"/v1/completions"): self._completion,
            (b"POST", b"/v1/embeddings"): self._embeddings,
            (b"POST", b"/tokenize"): self._tokenize,
            (b"POST", b"/v1/audio/speech"): self._speech,
            (b"POST", b"/v1/images/generations"): self._images,
            (b"GET", b"/v1/models"): self._list_models,
            (b"GET", b"/metrics"): lambda _request, now: self.heads.reply(
                200, metrics_text(self._counts(), self._settings), "text/plain; version=0.0.4; charset=utf-8", now
            ),
            (b"GET", b"/health"): lambda _request, now: self.heads.reply(200, b"", "", now),
            (b"GET", b"/ping"): lambda _request, now: self.heads.reply(200, b"", "", now),
            (b"GET", b"/version"): lambda _request, now: self.heads.json(200, {"version": VERSION}, now),
        }

    def answer(self, request: Request, now_utc: int) -> Reply | Work:
        path = request.path.split(b"?", 1)[0]
        route = self._routes.get((request.method, path))
        if route is None and request.method == b"GET" and path.startswith(b"/v1/models/"):
            route = self._show_model
        if route is None:
            if any(known == path for _, known in self._routes):
                return self.error(405, "Method Not Allowed", now_utc)
            return self.error(404, "Not Found", now_utc)
        try:
            return route(request, now_utc)
        except msgspec.MsgspecError as exc:
            return self.error(400, str(exc), now_utc)
        except Refusal as exc:
            return self.error(exc.status, exc.message, now_utc, exc.param)

    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply:
        kind = _ERROR_TYPES.get(status, "InternalServerError" if status >= 500 else "BadRequestError")
        body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": status}})
        return self.heads.reply(status, body, "application/json", now_utc, extra)

    def busy(self, now_utc: int, _path: bytes) -> Reply:
        """vLLM has no queue limit of its own; this is for `--queue-limit`."""
        return self.error(503, "The engine's waiting queue is full.", now_utc)

    def resolve(self, model: str) -> str | None:
        """The model as it is called here; None if it is not served. A fault suffix does not count."""
        return model if split_model(model)[0] in self._models else None

    def _require(self, model: str) -> None:
        if self.resolve(model) is None:
            raise Refusal(f"The model `{model}` does not exist.", "model", 404)

    def _show_model(self, request: Request, now_utc: int) -> Reply:
        model = request.path.split(b"?", 1)[0][11:].decode()
        card = model_card(model, MAX_MODEL_LEN, now_utc)
        self._require(model)
        return self.heads.json(200, card, now_utc)

    def _list_models(self, _request: Request, now_utc: int) -> Reply:
        cards = [model_card(model, MAX_MODEL_LEN, now_utc) for model in self._settings.models]
        return self.heads.json(200, {"object": "list", "data": cards}, now_utc)

    def _embeddings(self, request: Request, now_utc: int) -> Reply:
        wanted = _decode_embedding(request.body)
        self._require(wanted.model)
        dimensions = self._settings.embedding_dimensions if wanted.dimensions is None else wanted.dimensions
        if dimensions < 1:
            return self.error(400, "dimensions must be greater than 0", now_utc, "dimensions")
        vectors = [embed_text(text, dimensions, self._settings.seed) for text in input_texts(wanted.input)]
        data = [
            {"index": index, "object": "embedding", "embedding": encode_vector(vector, wanted.encoding_format)}
            for index, vector in enumerate(vectors)
        ]
        usage = usage_of(count_input_tokens(wanted.input), 0) | {"prompt_tokens_details": None}
        answer = {"id": f"embd-{self._next_id()}", "object": "list", "created": now_utc, "model": wanted.model}
        return self.heads.json(200, answer | {"data": data, "usage": usage}, now_utc)

    def _tokenize(self, request: Request, now_utc: int) -> Reply:
        """serve/tokenize/{protocol,serving}.py: a prompt, or a chat as its template makes it."""
        wanted = _decode_tokenize(request.body)
        if wanted.model is not None:
            self._require(wanted.model)
        if wanted.messages is not None:
            text = apply_template(
                wanted.messages, wanted.tools, wanted.chat_template_kwargs, wanted.add_generation_prompt
            )
        elif wanted.prompt is not None:
            text = wanted.prompt.encode()
        else:
            raise Refusal("Field required", "prompt")
        count = count_text(text)
        answer = {"count": count, "max_model_len": MAX_MODEL_LEN, "tokens": list(range(count)), "token_strs": None}
        return self.heads.json(200, answer, now_utc)

    def _speech(self, request: Request, now_utc: int) -> Reply:
        wanted = _decode_speech(request.body)
        self._require(wanted.model)
        audio, kind = speak(wanted)
        return self.heads.reply(200, audio, kind, now_utc)

    def _images(self, request: Request, now_utc: int) -> Reply:
        wanted = _decode_image(request.body)
        self._require(wanted.model)
        return self.heads.json(200, draw(wanted, now_utc), now_utc)

    def _chat(self, request: Request, now_utc: int) -> Reply | Work:
        wanted = _decode_chat(request.body)
        plain = self._complete(request, wanted, wanted.token_limit, chat_shape, now_utc)
        if (wanted.is_special or may_be_special(wanted.messages)) and isinstance(plain, Work):
            prompt = read_chat(wanted)
            return self._script_chat(wanted, prompt, plain, now_utc) if prompt.is_special else plain
        return plain

    def _completion(self, request: Request, now_utc: int) -> Reply | Work:
        wanted = _decode_completion(request.body)
        plain = self._complete(request, wanted, wanted.max_tokens, text_shape, now_utc)
        if (wanted.is_special or is_special_text(msgspec.json.decode(wanted.prompt))) and isinstance(plain, Work):
            prompts = read_completion(wanted)
            is_special = wanted.is_special or prompts[0].is_special
            return self._script_text(wanted, prompts, plain, now_utc) if is_special else plain
        return plain

    def _script_chat(self, wanted: ChatRequest, prompt: Prompt, plain: Work, now_utc: int) -> Work:
        """The plain work with an answer that the prompt chooses in place of its own."""
        script, settings = write_script(prompt), self._settings
        shape = chat_shape(plain.id.removeprefix("chatcmpl-"), wanted.model, now_utc)

        def usage(sent: int) -> Json:
            return usage_of_script(plain.prompt_tokens, sent, script, prompt.choices)

        def whole(_timing: Timing, sent: int) -> bytes:
            value = whole_chat(shape, script, prompt, settings.reasoning_field, usage(sent))
            return self.heads.json(200, value, now_utc).data

        return msgspec.structs.replace(
            plain,
            completion_tokens=len(script.tokens) * prompt.choices,
            opening=tuple(map(sse_event, openings(shape, prompt.choices))) if plain.stream else (),
            script=chat_events(shape, script, prompt, settings.tool_style, settings.reasoning_field),
            closing=closing_of(shape, [script], prompt.choices, usage if wanted.wants_usage else None),
            whole=whole,
            cached_tokens=count_cached(plain.prompt_tokens, script),
            reasoning_tokens=script.reasoning_tokens * prompt.choices,
        )

    def _script_text(self, wanted: CompletionRequest, prompts: list[Prompt], plain: Work, now_utc: int) -> Work:
        if wanted.suffix:
            raise Refusal("suffix is not currently supported", "suffix")
        scripts, choices = [write_script(prompt) for prompt in prompts], prompts[0].choices
        shape = text_shape(plain.id.removeprefix("cmpl-"), wanted.model, now_utc)
        events: list[tuple[bytes, ...]] = []
        for number, (script, prompt) in enumerate(zip(scripts, prompts, strict=True)):
            events += text_events(shape, script, prompt, number * choices, bool(wanted.echo))

        def usage(sent: int) -> Json:
            return usage_of_script(plain.prompt_tokens, sent, scripts[0], choices)

        def whole(_timing: Timing, sent: int) -> bytes:
            value = whole_text(shape, scripts, prompts, bool(wanted.echo), usage(sent))
            return self.heads.json(200, value, now_utc).data

        return msgspec.structs.replace(
            plain,
            completion_tokens=len(events),
            script=tuple(events),
            closing=closing_of(shape, scripts, choices, usage if wanted.wants_usage else None),
            whole=whole,
            cached_tokens=count_cached(plain.prompt_tokens, scripts[0]),
        )

    def _complete(
        self,
        request: Request,
        wanted: ChatRequest | CompletionRequest,
        limit: int | None,
        make_shape: Callable[[str, str, int], Shape],
        now_utc: int,
    ) -> Reply | Work:
        self._require(wanted.model)
        if limit is not None and limit < 1:
            return self.error(400, f"max_tokens must be at least 1, got {limit}.", now_utc, "max_tokens")
        shape = make_shape(self._next_id(), wanted.model, now_utc)
        return self._work(request, wanted, limit, shape, now_utc)

    def _work(
        self,
        request: Request,
        wanted: ChatRequest | CompletionRequest,
        limit: int | None,
        shape: Shape,
        now_utc: int,
    ) -> Work:
        prompt_tokens = count_prompt(wanted)
        reason = "stop" if limit is None else "length"
        stream = bool(wanted.stream)

        def whole(timing: Timing, sent: int) -> bytes:
            value = shape.whole(filler(sent, timing.ended_ns), reason, usage_of(prompt_tokens, sent))
            return self.heads.json(200, value, now_utc).data

        return Work(
            model=wanted.model,
            route=request.path.decode(),
            id=shape.id,
            prompt_tokens=prompt_tokens,
            completion_tokens=self._settings.answer_tokens if limit is None else limit,
            stream=stream,
            head=self.heads.stream("text/event-stream; charset=utf-8", now_utc),
            head_at_once=True,
            # Encoded only where they are sent: half of what an answer that does not stream would cost here.
            opening=tuple(map(sse_event, shape.opening)) if stream else (),
            event=token_template(shape.token) if stream else b"",
            is_dated=False,
            closing=_closing(shape, reason, prompt_tokens, wanted.wants_usage),
            whole=whole,
            fault=split_model(wanted.model)[1],
            failure=FAILURE,
        )


def count_prompt(wanted: ChatRequest | CompletionRequest) -> int:
    """The same as `/tokenize` counts."""
    if isinstance(wanted, CompletionRequest):
        return count_prompts(wanted.prompt)
    variables = template_variables(wanted.chat_template_kwargs, wanted.reasoning_effort)
    return count_text(apply_template(wanted.messages, wanted.tools, variables))


def _closing(shape: Shape, reason: str, prompt_tokens: int, wants_usage: bool) -> Callable[[Timing, int], Closing]:
    def close(_timing: Timing, sent: int) -> Closing:
        finish, done = sse_event(shape.finish(reason)), b"data: [DONE]\n\n"
        if not wants_usage:
            return Closing((finish, done))
        usage = sse_event(shape.usage_chunk | {"usage": usage_of(prompt_tokens, sent)})
        return Closing((finish, usage, done), 1)

    return close
