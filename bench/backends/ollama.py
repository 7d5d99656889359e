"""Pure. Ollama on the wire: its own NDJSON endpoints. Its OpenAI-compatible ones are in `ollama_openai.py`.

Source: ollama/ollama api/types.go, server/routes.go, server/sched.go (main, read 2026-11). Heads are Go's net/http
(through gin): canonical names, `Content-Type`, `Date`, then the length. The head of a stream goes out with its
first event, since gin writes it lazily. `created_at` of every event is the wall clock with nanoseconds. Deviation:
the digits are fixed width (Go drops trailing zeros), so that all events of a stream have one size.
Read next: `ollama_scripted.py`, answers that the prompt chooses.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from bench.backends.faults import split_model
from bench.backends.heads import GoHeads
from bench.backends.ollama_prompts import GenerateRequest, read_prompt
from bench.backends.ollama_scripted import (
    Fields,
    chat_fields,
    done_reason,
    generate_fields,
    script_events,
    whole_fields,
)
from bench.backends.openai_json import count_prompt_tokens, embed_text, filler
from bench.backends.prompt_tokens import count_values
from bench.backends.prompts import Prompt, Refusal, is_special_text, may_be_special
from bench.backends.scripts import write_script
from bench.backends.settings import EngineSettings
from bench.backends.work import TOKEN_TEXT, Closing, Reply, Timing, Work, escape_template
from bench.http1 import Request

VERSION = "0.13.0"
_MODIFIED_AT = "2026-01-15T10:00:00.123456789Z"
_SIZE_BYTES = 2_019_393_189
_DETAILS = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]}
_DETAILS |= {"parameter_size": "3.2B", "quantization_level": "Q4_K_M"}
BUSY = "server busy, please try again.  maximum pending requests exceeded"
_JSON = "application/json; charset=utf-8"
_ROOT = b"Ollama is running"
FAILURE = (b'{"error":"mock fault: error_event"}\n',)
# What /api/generate gives back to be sent again: token ids of the conversation so far.
_CONTEXT = [151644, 872, 198, 151645]


# A piece of text in the field where the endpoint carries it.
TextField = Callable[[str], dict[str, Any]]


class EmbedRequest(msgspec.Struct):
    model: str = ""
    input: str | list[str] = ""
    prompt: str = ""
    dimensions: int | None = None


class ModelRequest(msgspec.Struct):
    model: str = ""
    name: str = ""


class Residency(Protocol):
    """What the engine knows of loaded models; the server wires it in."""

    def resident(self) -> list[tuple[str, float]]:
        """(model, seconds until it is unloaded) of those in memory."""
        ...

    def num_ctx(self, model: str) -> int:
        """The context length it is loaded with; 0 if nothing is known."""
        ...

    def unload(self, model: str) -> None: ...


_decode_generate = msgspec.json.Decoder(GenerateRequest).decode
_decode_embed = msgspec.json.Decoder(EmbedRequest).decode
_decode_model = msgspec.json.Decoder(ModelRequest).decode


class Ollama:
    def __init__(self, settings: EngineSettings, residency: Residency) -> None:
        self._settings = settings
        self._residency = residency
        self.heads = GoHeads()
        self._count = 0
        self.names = [model if ":" in model else f"{model}:latest" for model in settings.models]
        self.routes: dict[tuple[bytes, bytes], Callable[[Request, int], Reply | Work]] = {
            (b"POST", b"/api/chat"): lambda request, now: self._answer(request, chat_fields, now),
            (b"POST", b"/api/generate"): lambda request, now: self._answer(request, generate_fields, now),
            (b"POST", b"/api/embed"): self._embed,
            (b"POST", b"/api/embeddings"): self._embeddings,
            (b"POST", b"/api/show"): self._show,
            (b"GET", b"/api/tags"): self._tags,
            (b"HEAD", b"/api/tags"): self._tags,
            (b"GET", b"/api/ps"): self._ps,
            (b"GET", b"/api/version"): lambda _request, now: self.heads.json(200, {"version": VERSION}, now),
            (b"HEAD", b"/api/version"): lambda _request, now: self.heads.json(200, {"version": VERSION}, now),
            (b"GET", b"/"): lambda _request, now: self.heads.reply(200, _ROOT, "text/plain; charset=utf-8", now),
            (b"HEAD", b"/"): lambda _request, now: self.heads.reply(200, _ROOT, "text/plain; charset=utf-8", now),
        }

    def answer(self, request: Request, now_utc: int) -> Reply | Work:
        path = request.path.split(b"?", 1)[0]
        route = self.routes.get((request.method, path))
        if route is None:
            # gin's words for what it does not route, wrong methods included.
            return self.heads.reply(404, b"404 page not found", "text/plain", now_utc)
        try:
            outcome = route(request, now_utc)
        except msgspec.MsgspecError as exc:
            return self.error(400, str(exc) if request.body else "missing request body", now_utc)
        except Refusal as exc:
            return self.error(exc.status, exc.message, now_utc)
        if request.method == b"HEAD" and isinstance(outcome, Reply):
            return Reply(outcome.data[: outcome.data.find(b"\r\n\r\n") + 4], outcome.status)
        return outcome

    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply:
        del param  # Ollama's errors are one string
        return self.heads.reply(status, msgspec.json.encode({"error": message}), _JSON, now_utc, extra)

    def busy(self, now_utc: int, _path: bytes) -> Reply:
        return self.error(503, BUSY, now_utc)

    def resolve(self, model: str) -> str | None:
        """The full name under which a model is known here, fault suffix kept; None if it is not."""
        name, fault = split_model(model)
        full = name if ":" in name else f"{name}:latest"
        if full not in self.names:
            return None
        return f"{full}!{fault}" if fault else full

    def require(self, model: str) -> str:
        """The same; Refusal if it is not known."""
        full = self.resolve(model)
        if full is None:
            raise Refusal(f"model '{model}' not found", status=404)
        return full

    def _tags(self, _request: Request, now_utc: int) -> Reply:
        models = [_card(name) | {"modified_at": _MODIFIED_AT} for name in self.names]
        return self.heads.json(200, {"models": models}, now_utc)

    def _ps(self, _request: Request, now_utc: int) -> Reply:
        models = []
        for name, seconds in self._residency.resident():
            expires = _rfc3339(now_utc + min(seconds, 3.2e9))
            length = self._residency.num_ctx(name) or self._settings.num_ctx
            models.append(_card(name) | {"expires_at": expires, "size_vram": _SIZE_BYTES, "context_length": length})
        return self.heads.json(200, {"models": models}, now_utc)

    def _show(self, request: Request, now_utc: int) -> Reply:
        wanted = _decode_model(request.body)
        name = self.require(wanted.model or wanted.name)
        info = {"general.architecture": "llama", "llama.context_length": 131072, "llama.embedding_length": 3072}
        answer = {"modelfile": f"FROM {name}", "parameters": "", "template": "{{ .Prompt }}", "details": _DETAILS}
        capabilities = ["completion", "embedding", "tools", "thinking", "vision"]
        answer |= {"model_info": info, "capabilities": capabilities, "modified_at": _MODIFIED_AT}
        return self.heads.json(200, answer, now_utc)

    def _embed(self, request: Request, now_utc: int) -> Reply:
        wanted = _decode_embed(request.body)
        self.require(wanted.model)
        texts = [wanted.input] if isinstance(wanted.input, str) else wanted.input
        dimensions = wanted.dimensions or self._settings.embedding_dimensions
        vectors = [embed_text(text, dimensions, self._settings.seed) for text in texts]
        tokens = sum(count_prompt_tokens(len(text)) for text in texts)
        answer = {
            "model": wanted.model,
            "embeddings": vectors,
            "total_duration": 14_143_917,
            "load_duration": 1_019_500,
        }
        return self.heads.json(200, answer | {"prompt_eval_count": tokens}, now_utc)

    def _embeddings(self, request: Request, now_utc: int) -> Reply:
        wanted = _decode_embed(request.body)
        self.require(wanted.model)
        vector = embed_text(wanted.prompt, self._settings.embedding_dimensions, self._settings.seed)
        return self.heads.json(200, {"embedding": vector}, now_utc)

    def _answer(self, request: Request, fields: Fields, now_utc: int) -> Reply | Work:
        """The plain answer, or the one that the prompt chooses."""
        wanted = _decode_generate(request.body)
        plain = self._work(request, wanted, lambda text: fields(text, "", []), now_utc)
        if not (wanted.is_special or _may_be_special(wanted)) or not isinstance(plain, Work):
            return plain
        prompt = read_prompt(wanted, read_limit(wanted.options))
        if not plain.completion_tokens or not (wanted.is_special or prompt.is_special):
            return plain
        return self._script(wanted, prompt, plain, fields, now_utc)

    def _script(self, wanted: GenerateRequest, prompt: Prompt, plain: Work, fields: Fields, now_utc: int) -> Work:
        script = write_script(prompt)
        context = {"context": _CONTEXT} if fields is generate_fields and not wanted.raw else {}

        def final(said: dict[str, Any], timing: Timing, sent: int) -> dict[str, Any]:
            made = _final_event(wanted.model, lambda _text: said, done_reason(script), plain.prompt_tokens, now_utc)
            return made("", timing, sent) | context

        def close(timing: Timing, sent: int) -> Closing:
            return Closing((msgspec.json.encode(final(fields("", "", []), timing, sent)) + b"\n",))

        def whole(timing: Timing, sent: int) -> bytes:
            return self.heads.json(200, final(whole_fields(plain.id, script, fields), timing, sent), now_utc).data

        return msgspec.structs.replace(
            plain,
            completion_tokens=len(script.tokens),
            script=script_events(wanted.model, plain.id, script, fields),
            closing=close,
            whole=whole,
            reasoning_tokens=script.reasoning_tokens,
        )

    def _work(self, request: Request, wanted: GenerateRequest, text_field: TextField, now_utc: int) -> Reply | Work:
        if not wanted.model:
            raise Refusal("model is required")
        model = self.require(wanted.model)
        keep_alive, has_prompt = parse_keep_alive(wanted.keep_alive), bool(wanted.messages or wanted.prompt)
        if not has_prompt and keep_alive == 0:
            self._residency.unload(split_model(model)[0])
            answer = {"model": wanted.model, "created_at": _rfc3339(now_utc)} | text_field("") | {"done": True}
            return self.heads.json(200, answer | {"done_reason": "unload"}, now_utc)
        self._count += 1
        limit = read_limit(wanted.options)
        reason = "load" if not has_prompt else "length" if limit else "stop"
        prompt_tokens = _count_prompt(wanted)
        final = _final_event(wanted.model, text_field, reason, prompt_tokens if has_prompt else None, now_utc)
        return Work(
            model=split_model(model)[0],
            route=request.path.decode(),
            id=f"ollama-{self._count}",
            prompt_tokens=prompt_tokens,
            completion_tokens=(limit or self._settings.answer_tokens) if has_prompt else 0,
            # An empty prompt only loads the model: one event, which is also the whole answer.
            stream=wanted.stream is not False and has_prompt,
            head=self.heads.stream("application/x-ndjson", now_utc),
            head_at_once=False,
            opening=(),
            event=_token_template(wanted.model, text_field),
            is_dated=True,
            closing=lambda timing, sent: Closing((msgspec.json.encode(final("", timing, sent)) + b"\n",)),
            whole=lambda timing, sent: (
                self.heads.json(200, final(filler(sent, timing.ended_ns), timing, sent), now_utc).data
            ),
            keep_alive_seconds=keep_alive,
            fault=split_model(model)[1],
            failure=FAILURE,
            num_ctx=_read_integer(wanted.options, "num_ctx", 0) or self._settings.num_ctx,
        )


def _may_be_special(wanted: GenerateRequest) -> bool:
    if wanted.messages is not None:
        return may_be_special(wanted.messages)
    return is_special_text(wanted.prompt) or is_special_text(wanted.system)


def _count_prompt(wanted: GenerateRequest) -> int:
    """What the model reads; not how it is to answer."""
    images = wanted.images if isinstance(wanted.images, list) else None
    return count_values(
        *(wanted.messages or ()), wanted.tools, wanted.think, wanted.prompt, wanted.system, wanted.suffix,
        wanted.template, wanted.context, images,
    )  # fmt: skip


def read_limit(options: dict[str, Any] | None) -> int | None:
    """`num_predict`; what is not positive means no limit."""
    limit = _read_integer(options, "num_predict", -1)
    return limit if limit > 0 else None


def _read_integer(options: dict[str, Any] | None, name: str, default: int) -> int:
    value = (options or {}).get(name, default)
    if not isinstance(value, int | float):
        raise Refusal(f'option "{name}" must be of type integer')
    return int(value)


def _card(name: str) -> dict[str, Any]:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"name": name, "model": name, "size": _SIZE_BYTES, "digest": digest, "details": _DETAILS}


def _token_template(model: str, text_field: TextField) -> bytes:
    event = {"model": model, "created_at": "@@DATE@@"} | text_field("@@TOKEN@@") | {"done": False}
    template = escape_template(msgspec.json.encode(event) + b"\n")
    return template.replace(b"@@DATE@@", b"%b").replace(b"@@TOKEN@@", TOKEN_TEXT)


def _final_event(
    model: str, text_field: TextField, reason: str, prompt_tokens: int | None, now_utc: int
) -> Callable[[str, Timing, int], dict[str, Any]]:
    """(text, timing, tokens sent) -> the event that says done; without prompt tokens it has no metrics."""

    def final(text: str, timing: Timing, sent: int) -> dict[str, Any]:
        ended_utc = now_utc + (timing.ended_ns - timing.arrived_ns) / 1e9
        event: dict[str, Any] = {"model": model, "created_at": _rfc3339(ended_utc)} | text_field(text)
        event |= {"done": True, "done_reason": reason}
        return event | (_durations(timing, prompt_tokens, sent) if prompt_tokens is not None else {})

    return final


def _durations(timing: Timing, prompt_tokens: int, sent: int) -> dict[str, int]:
    """Ollama's metrics, nanoseconds; fields that are zero are left out, as Go's omitempty does."""
    started = timing.started_ns or timing.arrived_ns
    first = timing.first_ns or started
    durations = {
        "total_duration": timing.ended_ns - timing.arrived_ns,
        "load_duration": timing.load_ns,
        "prompt_eval_count": prompt_tokens,
        "prompt_eval_duration": first - started,
        "eval_count": sent,
        "eval_duration": timing.ended_ns - first,
    }
    return {name: value for name, value in durations.items() if value}


def parse_keep_alive(value: float | str | None) -> float | None:
    """Seconds: a number, or a Go duration such as `5m`, `1h30m`, `500ms`; negative = for ever; None = not given."""
    if value is None or isinstance(value, int | float):
        return value
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    sign = -1.0 if value.startswith("-") else 1.0
    seconds, number, unit = 0.0, "", ""
    for char in value.lstrip("+-") + "0":
        if unit and (char.isdigit() or char == "."):
            seconds += float(number) * units.get(unit, 0.0)
            number, unit = "", ""
        if char.isdigit() or char == ".":
            number += char
        else:
            unit += char
    return sign * seconds


def _rfc3339(utc: float) -> str:
    return f"{datetime.fromtimestamp(int(utc), UTC):%Y-%m-%dT%H:%M:%S}.{int(utc % 1 * 1e9):09d}Z"
