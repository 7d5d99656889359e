"""Pure. How tokens are to be chosen and how much to think: OpenAI's fields, its engines' additions, and our words.

Sources: as in `engines.py`; `reasoning_effort` none … max: OpenAI API reference (2026).
"""

import msgspec

from mrproxy.canonical.conversation import Sampling, ThinkingWish
from mrproxy.dialects.openai.engines import Engine
from mrproxy.dialects.openai.fields import ignore, is_said, members

_KWARGS = "chat_template_kwargs"
_SWITCH = "enable_thinking"


class Sampled(msgspec.Struct):
    """The fields that a chat and a completion share, engines' own included."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    repeat_penalty: float | None = None
    logit_bias: msgspec.Raw = msgspec.Raw()
    n: int | None = None


def read_sampling(asked: Sampled, bound: int | None, logprobs: bool | None, top_logprobs: int | None) -> Sampling:
    """`bound` is the larger dialect's word for max_tokens; a negative one is llama.cpp's "no bound"."""
    if bound is None:
        bound = asked.max_tokens
    stop = asked.stop
    penalty = asked.repetition_penalty if asked.repetition_penalty is not None else asked.repeat_penalty
    return Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        typical_p=asked.typical_p,
        max_tokens=bound if bound is None or bound >= 0 else None,
        stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
        seed=asked.seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repetition_penalty=penalty,
        logit_bias=asked.logit_bias if is_said(asked.logit_bias) else None,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        n=asked.n,
    )


_WISHES = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "presence_penalty", "frequency_penalty"),
    *("repetition_penalty", "logit_bias", "n"),
)


def write_sampling(
    sampling: Sampling, engine: Engine, bound: str, body: dict[str, object], warnings: list[str]
) -> None:
    """All but logprobs, which a chat and a completion say differently. `bound`: the field for max_tokens."""
    for name in _WISHES:
        value = getattr(sampling, name)
        if value is None:
            continue
        if wire_name := engine.sampling.get(name):
            body[wire_name] = value
        else:
            ignore([name], engine.label, warnings)
    if sampling.max_tokens is not None:
        body[bound] = sampling.max_tokens
    if sampling.stop:
        body["stop"] = sampling.stop


def write_engine_wishes(
    context_length: int | None,
    keep_alive: msgspec.Raw | None,
    options: dict[str, msgspec.Raw],
    engine: Engine,
    body: dict[str, object],
    warnings: list[str],
) -> None:
    """What Ollama's callers say to their engine and not to the model."""
    if context_length is not None:
        ignore(["num_ctx"], engine.label, warnings)
    if keep_alive is not None:
        ignore(["keep_alive"], engine.label, warnings)
    for name, value in options.items():
        if wire_name := engine.options.get(name):
            body[wire_name] = value
        else:
            ignore([name], engine.label, warnings)


def read_thinking(effort: str | None, extras: dict[str, msgspec.Raw]) -> ThinkingWish | None:
    """From `reasoning_effort`, or from the switch in `chat_template_kwargs`, which is taken out of `extras`."""
    is_enabled = _take_switch(extras)
    if effort is not None:
        return ThinkingWish(enabled=False if effort == "none" else is_enabled, effort=effort)
    return ThinkingWish(enabled=is_enabled) if is_enabled is not None else None


def _take_switch(extras: dict[str, msgspec.Raw]) -> bool | None:
    given = bytes(extras.get(_KWARGS, b""))
    if not given.startswith(b"{"):
        return None
    kwargs = members(given)
    switch = bytes(kwargs.get(_SWITCH, b""))
    if switch not in (b"true", b"false"):
        return None
    del kwargs[_SWITCH]
    del extras[_KWARGS]
    if kwargs:
        extras[_KWARGS] = msgspec.Raw(msgspec.json.encode(kwargs))
    return switch == b"true"


def write_thinking(
    wish: ThinkingWish, engine: Engine, extras: dict[str, msgspec.Raw], body: dict[str, object], warnings: list[str]
) -> None:
    """May take `chat_template_kwargs` out of `extras`, to add to it."""
    if wish.budget_tokens is not None:
        if engine.thinking_budget:
            body[engine.thinking_budget] = wish.budget_tokens
        else:
            # vLLM answers 400 to thinking_token_budget unless it was started with --reasoning-config.
            ignore(["thinking budget"], engine.label, warnings)
    is_disabled = wish.enabled is False or wish.effort == "none"
    if not engine.is_template_based:
        if is_disabled or wish.effort is not None:
            body["reasoning_effort"] = "none" if is_disabled else wish.effort
        elif wish.enabled:
            warnings.append(f"thinking is left to the model: {engine.label} knows efforts only")
    elif is_disabled or (wish.enabled and wish.effort is None):
        # Older vLLM answers 400 to reasoning_effort "none", older llama.cpp does not read it.
        given = bytes(extras.get(_KWARGS, b""))
        kwargs = members(extras.pop(_KWARGS)) if given.startswith(b"{") else {}
        body[_KWARGS] = kwargs | {_SWITCH: not is_disabled}
    elif wish.effort is not None:
        body["reasoning_effort"] = wish.effort
