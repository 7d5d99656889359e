"""Pure. What to ask an inference server to know that it lives and what it has, and how to read its answers.

1. A probe is a handful of GETs, by kind (`PROBE_PATHS`). The shell sends them and hands over what came back; a path
   that got no answer is left out.
2. One path decides (`/v1/models`, or `/api/tags`): without a readable list there is no result. The others refine.
3. Servers of the same family differ, so a field that is missing or of the wrong type is unknown, never an error, and
   a list entry without a name is skipped. The only exception that leaves this module is ProbeError.
4. An answer is decoded in one go: fields that we do not read are passed over, and a list of more than MAX_MODELS is
   an error, so that no answer takes long.
5. The kind `auto` is found from which paths answer what (`detect_kind`).

Formats: vLLM's OpenAI server, llama.cpp's tools/server/README.md, docs.ollama.com/api, llama-cpp-python's server.
Read next: the backend's probe task, the shell around this.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import msgspec
from msgspec import Raw

from mrproxy.canonical.surface import PROBED, Surface
from mrproxy.dialects.unreadable import UNREADABLE

PROBE_PATHS: Mapping[str, tuple[str, ...]] = {
    "vllm": ("/health", "/v1/models"),
    "openai": ("/v1/models",),
    "llamacpp": ("/health", "/v1/models", "/props"),
    "ollama": ("/api/version", "/api/tags", "/api/ps"),
    "anthropic": ("/v1/models",),
    # In an order in which the first good answer usually decides; Ollama and llama.cpp answer /v1/models, too.
    "auto": ("/api/version", "/api/tags", "/api/ps", "/health", "/v1/models", "/props"),
}
# A server that has no such page says nothing about its health: llama-cpp-python has no /health, nor have most others.
_NOT_OFFERED = (404, 405, 501)
_OTHER_METHOD = (405, 400, 422)

# The largest clouds list some hundred. Each takes 5 µs at every probe, and its place in every list of ours.
MAX_MODELS = 10_000
# Entries are told apart by decoding them, 80 ns and 70 bytes each: a list of 8 MiB of numbers is refused by its commas.
_MAX_COMMAS = 100 * MAX_MODELS


class ProbeError(Exception):
    """The server answered and cannot be used as it is. `path` is what was asked, `status` what came (0: nothing)."""

    def __init__(self, message: str, path: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.status = status


class Answer(NamedTuple):
    """One response to one GET."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model on one server. `raw` is the server's own list entry: `/v1/models` data, or `/api/tags` models."""

    name: str
    raw: Raw
    context_tokens: int | None = None
    created_utc: float | None = None


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A model that Ollama holds in memory; `raw` is the entry of `/api/ps`."""

    name: str
    raw: Raw
    size_vram_bytes: int | None = None
    context_tokens: int | None = None
    expires_utc: float | None = None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A server that answers. `resident`: names of models that need no loading; `loading`: none may be used yet;
    `native`: surfaces that were found beyond those of its kind."""

    kind: str
    models: tuple[ModelInfo, ...]
    resident: frozenset[str]
    running: tuple[RunningModel, ...] = ()
    version: str = ""
    loading: bool = False
    native: frozenset[Surface] = frozenset()


Answers = Mapping[str, Answer]


class _Fields(TypedDict, total=False):
    """All fields that we read of any object. To make a dict of some that nobody knows took half a second."""

    context_length: Raw
    created: Raw
    data: Raw
    default_generation_settings: Raw
    build_info: Raw
    error: Raw
    expires_at: Raw
    id: Raw
    max_model_len: Raw
    meta: Raw
    model: Raw
    models: Raw
    modified_at: Raw
    n_ctx: Raw
    n_ctx_train: Raw
    name: Raw
    owned_by: Raw
    size_vram: Raw
    type: Raw
    version: Raw


_decode_object = msgspec.json.Decoder(_Fields).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_integer = msgspec.json.Decoder(int).decode
_decode_instant = msgspec.json.Decoder(datetime.datetime).decode


def decode_answers(kind: str, answers: Answers) -> ProbeResult:
    """What the answers to `PROBE_PATHS[kind]` say; raises ProbeError, for an unknown kind too."""
    if kind == "auto":
        kind = detect_kind(answers)
    match kind:
        case "ollama":
            return _decode_ollama(answers)
        case "llamacpp":
            return _decode_llamacpp(answers)
        case "vllm":
            return _decode_vllm(answers)
        case "openai" | "anthropic":  # their lists have the same shape, but for the dates
            return _resident_result(kind, _openai_models(answers))
        case _:
            raise ProbeError(f"unknown kind of backend {kind!r}")


def decode_native(answers: Answers) -> frozenset[Surface]:
    """Which of the surfaces in `PROBED` are there: their paths refuse a GET, and are not unknown.

    FastAPI (vLLM) and Gin (Ollama) say 405 for another method; 404 and 501 are for what is not offered.
    """
    return frozenset(
        surface for path, surface in PROBED.items() if path in answers and answers[path].status in _OTHER_METHOD
    )


def detect_kind(answers: Answers) -> str:
    """The kind of server that gives these answers to `PROBE_PATHS["auto"]`; raises ProbeError if it is none we know."""
    if _text(_object(answers, "/api/version").get("version")) and "models" in _object(answers, "/api/tags"):
        return "ollama"
    if "default_generation_settings" in _object(answers, "/props") or _is_loading_llamacpp(answers):
        return "llamacpp"
    entries = [_fields(model.raw) for model in _openai_models(answers)]
    owners = {_text(entry.get("owned_by")) for entry in entries}
    if "vllm" in owners or any("max_model_len" in entry for entry in entries):
        return "vllm"
    return "llamacpp" if "llamacpp" in owners else "openai"


def _decode_ollama(answers: Answers) -> ProbeResult:
    tags = _required(answers, "/api/tags")
    # An Ollama without any model says null.
    entries = _list(_fields(tags).get("models"), "/api/tags", null_is_empty=True)
    models: dict[str, ModelInfo] = {}
    for entry in entries:
        fields = _fields(entry)
        name = _text(fields.get("name")) or _text(fields.get("model"))
        if name:
            models.setdefault(name, ModelInfo(name, entry, None, _instant(fields.get("modified_at"))))
    running = _running_models(answers)
    return ProbeResult(
        kind="ollama",
        models=tuple(models.values()),
        resident=frozenset(model.name for model in running),
        running=running,
        version=_text(_object(answers, "/api/version").get("version")),
    )


def _running_models(answers: Answers) -> tuple[RunningModel, ...]:
    """Empty where the page is missing (before Ollama 0.1.38) or cannot be read."""
    try:
        entries = _list(_object(answers, "/api/ps").get("models"), "/api/ps", null_is_empty=True)
    except ProbeError:
        return ()
    running = []
    for entry in entries:
        fields = _fields(entry)
        name = _text(fields.get("name")) or _text(fields.get("model"))
        if name:
            vram, context = _integer(fields.get("size_vram")), _integer(fields.get("context_length"))
            running.append(RunningModel(name, entry, vram, context, _instant(fields.get("expires_at"))))
    return tuple(running)


def _decode_llamacpp(answers: Answers) -> ProbeResult:
    health = answers.get("/health")
    if health is not None and health.status == 503:
        return ProbeResult("llamacpp", (), frozenset(), loading=True)
    _check_health(answers)
    properties = _object(answers, "/props")
    settings = _fields(properties.get("default_generation_settings"))
    models = _openai_models(answers, _integer(settings.get("n_ctx")))
    return _resident_result("llamacpp", models, _text(properties.get("build_info")))


def _decode_vllm(answers: Answers) -> ProbeResult:
    # 503 is what a vLLM says whose engine has died; it opens its port only after loading.
    _check_health(answers)
    return _resident_result("vllm", _openai_models(answers))


def _resident_result(kind: str, models: tuple[ModelInfo, ...], version: str = "") -> ProbeResult:
    return ProbeResult(kind, models, frozenset(model.name for model in models), version=version)


def _check_health(answers: Answers) -> None:
    health = answers.get("/health")
    if health is not None and health.status != 200 and health.status not in _NOT_OFFERED:
        raise ProbeError(f"/health answered {health.status}", "/health", health.status)


def _is_loading_llamacpp(answers: Answers) -> bool:
    health = answers.get("/health")
    if health is None or health.status != 503:
        return False
    return _text(_fields(_fields(health.body).get("error")).get("type")) == "unavailable_error"


def _openai_models(answers: Answers, slot_context_tokens: int | None = None) -> tuple[ModelInfo, ...]:
    """The entries of `/v1/models`, each name once; `slot_context_tokens` is what a server said elsewhere."""
    body = _required(answers, "/v1/models")
    fields = _fields(body)
    # A few clouds (Together AI) send the bare list.
    entries = _list(fields.get("data") if fields else Raw(body), "/v1/models")
    models: dict[str, ModelInfo] = {}
    for entry in entries:
        fields = _fields(entry)
        name = _text(fields.get("id"))
        if name:
            context_tokens = slot_context_tokens or _context_tokens(fields)
            created = _integer(fields.get("created"))
            models.setdefault(name, ModelInfo(name, entry, context_tokens, None if created is None else float(created)))
    return tuple(models.values())


def _context_tokens(entry: _Fields) -> int | None:
    """vLLM: `max_model_len`; llama.cpp: what the model was trained with; some clouds: `context_length`."""
    trained = _fields(entry.get("meta")).get("n_ctx_train")
    return _integer(entry.get("max_model_len")) or _integer(trained) or _integer(entry.get("context_length"))


def _required(answers: Answers, path: str) -> bytes:
    answer = answers.get(path)
    if answer is None:
        raise ProbeError(f"{path} got no answer", path)
    if answer.status != 200:
        raise ProbeError(f"{path} answered {answer.status}", path, answer.status)
    return answer.body


def _object(answers: Answers, path: str) -> _Fields:
    """The members of an optional answer; empty if there is none that can be read."""
    answer = answers.get(path)
    return _fields(answer.body) if answer is not None and answer.status == 200 else {}


def _list(raw: Raw | None, path: str, *, null_is_empty: bool = False) -> list[Raw]:
    if raw is None:
        raise ProbeError(f"{path}: the answer has no list of models", path, 200)
    text = bytes(raw)
    if null_is_empty and text == b"null":
        return []
    try:
        entries = _decode_list(text) if text.count(b",") <= _MAX_COMMAS else None
    except UNREADABLE as exc:
        raise ProbeError(f"{path}: the answer has no list of models", path, 200) from exc
    if entries is None or len(entries) > MAX_MODELS:
        raise ProbeError(f"{path}: the list has more than {MAX_MODELS:,} models", path, 200)
    return entries


def _fields(raw: Raw | bytes | None) -> _Fields:
    try:
        return {} if raw is None else _decode_object(raw)
    except UNREADABLE:
        return {}


def _text(raw: Raw | None) -> str:
    try:
        return "" if raw is None else _decode_text(raw)
    except UNREADABLE:
        return ""


def _integer(raw: Raw | None) -> int | None:
    try:
        number = None if raw is None else _decode_integer(raw)
    except UNREADABLE:
        return None
    # Counts, sizes and times: below zero or beyond 64 bits is nonsense.
    return number if number is not None and 0 <= number < 1 << 63 else None


def _instant(raw: Raw | None) -> float | None:
    """An RFC 3339 time as seconds UTC; Ollama's zero time (year 1) and others that make no timestamp are unknown."""
    try:
        instant = None if raw is None else _decode_instant(raw)
        if instant is None or instant.tzinfo is None or instant.year < 1970:
            return None
        return instant.timestamp()
    except (*UNREADABLE, OverflowError, ValueError):
        return None
