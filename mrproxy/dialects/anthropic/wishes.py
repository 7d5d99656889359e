"""Pure. How to answer, both ways: thinking, effort, output format, sampling.

Source: Anthropic API reference, "Create a Message": `thinking`, `output_config`, `max_tokens` (2026). Structured
outputs were `output_format` while they were a beta; both are read, the newer is written.
"""

from typing import Any

from mrproxy.canonical.conversation import ChatRequest, FormatKind, ResponseFormat, Sampling, ThinkingWish
from mrproxy.dialects.anthropic.fields import Members, Notes, begins, invalid, missing

# Anthropic's API requires a bound, the other dialects do not: small enough for every model that is still served,
# large enough for nearly every answer.
DEFAULT_MAX_TOKENS = 8192
JSON_INSTRUCTION = "Answer with one valid JSON object and nothing else."
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_HAS_NONE = "Anthropic's API has none"


def read_sampling(body: Members, *, needs_bound: bool) -> Sampling:
    """Raises ClientError."""
    bound = body.integer("max_tokens")
    if needs_bound and bound is None:
        raise missing("max_tokens")
    if bound is not None and bound < 1:
        raise invalid("max_tokens", "must be at least 1")
    return Sampling(
        temperature=body.number("temperature"),
        top_p=body.number("top_p"),
        top_k=body.integer("top_k"),
        max_tokens=bound,
        stop=body.texts("stop_sequences"),
    )


def read_thinking(thinking: Members | None, effort: str | None, notes: Notes) -> ThinkingWish | None:
    """Raises ClientError."""
    if thinking is None:
        return None if effort is None else ThinkingWish(effort=effort)
    kind = thinking.required_text("type")
    if kind not in ("enabled", "adaptive", "disabled", "between_tools"):
        raise invalid(thinking.at("type"), f"{kind!r} is none of enabled, adaptive, between_tools, disabled")
    if kind == "between_tools":
        notes.add("thinking.type between_tools is taken for adaptive: engines do not tell where they think")
    if thinking.text("display") == "omitted":
        notes.ignored("thinking.display", "thinking is shown as the engine gives it")
    wish = ThinkingWish(kind != "disabled", effort, thinking.integer("budget_tokens"))
    notes.left_of(thinking, "thinking")
    return wish


def read_format(output: Members | None, notes: Notes) -> ResponseFormat | None:
    """`output_config.format`, or the beta's `output_format`. Raises ClientError."""
    if output is None:
        return None
    kind = output.required_text("type")
    if kind != "json_schema":
        raise invalid(output.at("type"), f"{kind!r} is not json_schema")
    schema = output.required("schema")
    if not begins(schema, b"{"):
        raise invalid(output.at("schema"), "must be an object")
    notes.left_of(output, "output_config.format")
    return ResponseFormat(FormatKind.JSON_SCHEMA, schema=schema)


def write_sampling(request: ChatRequest, notes: Notes) -> dict[str, Any]:
    """Raises ClientError."""
    sampling = request.sampling
    if sampling.n is not None and sampling.n > 1:
        raise invalid("n", "Anthropic's API gives one answer")
    fields: dict[str, Any] = {"max_tokens": _bound(request, notes)}
    if sampling.temperature is not None:
        fields["temperature"] = sampling.temperature
        if sampling.temperature > 1:
            fields["temperature"] = 1.0
            notes.add(f"temperature {sampling.temperature:g} is sent as 1: Anthropic's API goes no higher")
    if sampling.top_p is not None:
        fields["top_p"] = sampling.top_p
    if sampling.top_k is not None:
        fields["top_k"] = sampling.top_k
    if sampling.stop:
        fields["stop_sequences"] = sampling.stop
    for name in ("min_p", "typical_p", "seed", "presence_penalty", "frequency_penalty", "repetition_penalty"):
        if getattr(sampling, name) is not None:
            notes.ignored(name, _HAS_NONE)
    for name in ("logit_bias", "logprobs", "top_logprobs"):
        if getattr(sampling, name):
            notes.ignored(name, _HAS_NONE)
    return fields


def _bound(request: ChatRequest, notes: Notes) -> int:
    if request.sampling.max_tokens is not None:
        return request.sampling.max_tokens
    budget = request.thinking.budget_tokens if request.thinking is not None else None
    bound = DEFAULT_MAX_TOKENS + (budget or 0)  # thinking counts towards it
    notes.add(f"max_tokens was not given: Anthropic's API needs one, {bound} is sent")
    return bound


def write_thinking(wish: ThinkingWish | None, notes: Notes) -> tuple[dict[str, Any] | None, str | None]:
    """The `thinking` field and the effort. An effort alone says nothing about thinking: the model decides."""
    if wish is None:
        return None, None
    effort = wish.effort
    if effort == "none" or wish.enabled is False:
        return {"type": "disabled"}, effort if effort in _EFFORTS else None
    if effort is not None and effort not in _EFFORTS:
        notes.add(f"effort {effort!r} is sent as low: Anthropic's API has no less")
        effort = "low"
    if wish.budget_tokens is not None:
        return {"type": "enabled", "budget_tokens": wish.budget_tokens}, effort
    return {"type": "adaptive"} if wish.enabled else None, effort


def write_format(wanted: ResponseFormat | None, notes: Notes) -> tuple[dict[str, Any] | None, str | None]:
    """The format, and what has to be said in the system prompt instead. A schema's name is a label that Anthropic's
    API does not need; it always keeps to the schema, so `strict` has nothing to add."""
    if wanted is None or wanted.kind is FormatKind.TEXT:
        return None, None
    if wanted.kind is FormatKind.JSON_OBJECT or wanted.schema is None:
        notes.add("response_format json_object is asked for in words: Anthropic's API knows schemas only")
        return None, JSON_INSTRUCTION
    if wanted.description is not None:
        notes.ignored("response_format.json_schema.description", _HAS_NONE)
    return {"type": "json_schema", "schema": wanted.schema}, None
