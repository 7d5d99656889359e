"""Pure. What a request wishes of the answer: `options`, `format`, `think`, `keep_alive`; both ways.

`options` is one object for sampling, which has canonical names, and for how the model is loaded and run, which has not:
that stays as it is (`engine_options`), except `num_ctx`.
Sources: ollama api/types.go (Options, ThinkValue, Duration), llm/server.go (format), docs/capabilities/thinking.mdx,
v0.17.4 (February 2026).
"""

import re

import msgspec

from mrproxy.canonical.conversation import (
    ChatRequest,
    EmbeddingRequest,
    FormatKind,
    ResponseFormat,
    Sampling,
    TextRequest,
    ThinkingWish,
)
from mrproxy.dialects.codec import Target
from mrproxy.dialects.ollama.fields import OBJECT, TEXT, TEXTS, Fields, invalid, is_said, read, read_number, read_whole

# Options → canonical names, where the two mean the same number.
_NUMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repeat_penalty": "repetition_penalty",
}
_WHOLES = {"top_k": "top_k", "seed": "seed", "num_predict": "max_tokens"}
# Fields of Ollama without a canonical name, or such as callers of other dialects add to their own. Not those for
# drawing (width, height, steps) and debugging: their answers are no text.
_PASSED = frozenset({"truncate", "shift", "keep_alive", "think", "format"})
_LEVELS = ("low", "medium", "high")
_NEAREST_LEVEL = {"minimal": "low", "xhigh": "high", "max": "high"}
_ZERO = re.compile(rb'"[+-]?(0+|((0+\.?0*|\.0+)(ns|us|\xc2\xb5s|ms|s|m|h))+)"|-?0+(\.0+)?([eE][+-]?\d+)?')

_think = msgspec.json.Decoder(bool | str)


class Options(msgspec.Struct, frozen=True):
    sampling: Sampling
    context_length: int | None
    engine_options: dict[str, msgspec.Raw]


# Decoding


def read_options(fields: Fields) -> Options:
    """`options`, with the two wishes about logprobs that stand beside it."""
    given = {name: value for name, value in (fields.take("options", OBJECT) or {}).items() if is_said(value)}
    values: dict[str, object] = {}
    for name, canonical in _NUMBERS.items():
        if name in given:
            values[canonical] = read_number(given.pop(name), f"options.{name}")
    for name, canonical in _WHOLES.items():
        if name in given:
            values[canonical] = read_whole(given.pop(name), f"options.{name}")
    if "stop" in given:
        values["stop"] = _read_stop(given.pop("stop"))
    _forget_what_means_nothing(values)
    num_ctx = given.pop("num_ctx", None)
    context_length = None if num_ctx is None else read_whole(num_ctx, "options.num_ctx")
    values["logprobs"] = fields.flag("logprobs")
    values["top_logprobs"] = fields.whole("top_logprobs")
    return Options(msgspec.convert(values, Sampling), context_length, given)


def _read_stop(value: msgspec.Raw) -> list[str]:
    """A list, or (docs/openapi.yaml) one string."""
    if bytes(value)[:1] == b'"':
        return [read(TEXT, value, "options.stop")]
    return read(TEXTS, value, "options.stop")


def _forget_what_means_nothing(values: dict[str, object]) -> None:
    """`num_predict` below 1 is no bound, and the seed -1 is chance (runner.go, DefaultOptions)."""
    bound = values.get("max_tokens")
    if isinstance(bound, int) and bound < 1:
        del values["max_tokens"]
    if values.get("seed") == -1:
        del values["seed"]


def read_format(fields: Fields) -> ResponseFormat | None:
    """The word "json", or a schema; an empty string is nothing."""
    value = fields.raw("format")
    match bytes(value or b'""')[:1]:
        case b"{":
            return ResponseFormat(FormatKind.JSON_SCHEMA, schema=value)
        case b'"':
            word = read(TEXT, value, "format") if value is not None else ""
            if word == "":
                return None
            if word == "json":
                return ResponseFormat(FormatKind.JSON_OBJECT)
    raise invalid("format", 'Expected "json" or a JSON schema')


def read_think(fields: Fields) -> ThinkingWish | None:
    wish = fields.take("think", _think)
    if isinstance(wish, str):
        if wish not in _LEVELS:
            raise invalid("think", 'Expected true, false, "low", "medium" or "high"')
        return ThinkingWish(enabled=True, effort=wish)
    return None if wish is None else ThinkingWish(enabled=wish)


def read_keep_alive(fields: Fields) -> msgspec.Raw | None:
    value = fields.raw("keep_alive")
    if value is not None and bytes(value)[:1] in (b"{", b"[", b"t", b"f"):
        raise invalid("keep_alive", "Expected a number of seconds or a duration")
    return value


def is_zero(keep_alive: msgspec.Raw | None) -> bool:
    """Whether the model is to be unloaded at once."""
    return keep_alive is not None and _ZERO.fullmatch(bytes(keep_alive)) is not None


# Encoding


def write_options(
    request: ChatRequest | TextRequest | EmbeddingRequest, target: Target, warnings: list[str]
) -> dict[str, object]:
    """Without sampling. The configured context length is said even when nobody asked: a change of it reloads."""
    extra = request.extras.get("options")
    options: dict[str, object] = {}
    if extra is not None:
        theirs = read(OBJECT, extra, "options")
        options.update(theirs)
    options |= request.engine_options
    wanted = request.context_length
    if wanted is None and isinstance(other := options.pop("num_ctx", None), msgspec.Raw):
        wanted = read_whole(other, "options.num_ctx")
    length = wanted
    if target.context_length is not None and (target.is_context_fixed or wanted is None):
        length = target.context_length
    if length is not None:
        options["num_ctx"] = length
    if wanted not in (None, length):
        warnings.append(f"num_ctx is {length} for this model, whatever the request says")
    return options


def write_sampling(
    sampling: Sampling, options: dict[str, object], body: dict[str, object], warnings: list[str]
) -> None:
    """Into `options`, and logprobs into `body`."""
    if sampling.n is not None and sampling.n > 1:
        raise invalid("n", "Ollama gives one answer to a request")
    if sampling.max_tokens is not None and sampling.max_tokens < 1:
        raise invalid("max_tokens", "an answer of Ollama's has at least one token")
    for name, canonical in (_NUMBERS | _WHOLES).items():
        value = getattr(sampling, canonical)
        if value is not None:
            options[name] = value
    if sampling.stop:
        options["stop"] = sampling.stop
    if sampling.logit_bias is not None:
        warnings.append("logit_bias is ignored: Ollama has none")
    for name in ("logprobs", "top_logprobs"):
        value = getattr(sampling, name)
        if value is not None:
            body[name] = value


def write_format(wanted: ResponseFormat | None, body: dict[str, object], warnings: list[str]) -> None:
    """A schema's name and `strict` say nothing to an engine whose grammar always holds the model to it."""
    if wanted is None or wanted.kind is FormatKind.TEXT:
        return
    body["format"] = "json" if wanted.schema is None else wanted.schema
    if wanted.description is not None:
        warnings.append("the description of the response format is ignored: Ollama's is only a schema")


def write_think(wish: ThinkingWish | None, model: str, body: dict[str, object], warnings: list[str]) -> None:
    if wish is None or wish == ThinkingWish():
        return
    if wish.budget_tokens is not None:
        warnings.append("a budget of thinking tokens is ignored: Ollama has none")
    if wish.enabled is False or wish.effort == "none":
        body["think"] = False
        return
    body["think"] = True
    # Every other model answers a level with an error (server/routes.go), and gpt-oss takes true for "medium".
    if wish.effort is not None and "gpt-oss" in model.lower():
        body["think"] = _level(wish.effort, warnings)
    elif wish.effort is not None:
        warnings.append(f"the effort {wish.effort!r} of thinking is ignored: in Ollama only gpt-oss has levels")


def _level(effort: str, warnings: list[str]) -> str | bool:
    if effort in _LEVELS:
        return effort
    level = _NEAREST_LEVEL.get(effort)
    warnings.append(f"the effort {effort!r} of thinking is said as {level or 'true'}: Ollama has low, medium and high")
    return level or True


def write_rest(request: ChatRequest | TextRequest, body: dict[str, object], warnings: list[str]) -> None:
    """What stands in every request to Ollama, and what only belongs to others."""
    if request.keep_alive is not None:
        body["keep_alive"] = request.keep_alive
    body["stream"] = request.streams
    if request.user is not None:
        warnings.append("user is ignored: Ollama has none")
    write_extras(request.extras, body, warnings)


def write_extras(extras: dict[str, msgspec.Raw], body: dict[str, object], warnings: list[str]) -> None:
    for name, value in extras.items():
        if name in _PASSED and name not in body:
            body[name] = value
        elif name != "options":
            warnings.append(f"{name} is ignored: {'said otherwise' if name in body else 'Ollama has no such field'}")
