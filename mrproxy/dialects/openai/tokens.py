"""Pure. `usage`, both ways, and llama.cpp's `timings`.

Sources: OpenAI API reference, "Usage" (2026); llama.cpp tools/server/README.md, "Timings and context usage" (2026);
DeepSeek API reference, `prompt_cache_hit_tokens` (2026).
"""

from typing import Annotated, TypeVar

import msgspec

from mrproxy.canonical.deltas import TokenReport
from mrproxy.dialects.unreadable import UNREADABLE

# Whatever an engine says, the ledger and the journal get a number that fits them.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_NS_PER_MS = 1_000_000


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: _Count | None = None


class _Timings(msgspec.Struct, gc=False):
    prompt_n: int | None = None
    cache_n: int | None = None
    predicted_n: int | None = None
    prompt_ms: float | None = None
    predicted_ms: float | None = None


_T = TypeVar("_T")

_usage = msgspec.json.Decoder(_Usage)
_timings = msgspec.json.Decoder(_Timings)


def read_report(usage: msgspec.Raw, timings: msgspec.Raw) -> TokenReport | None:
    """None where the engine says nothing that can be read: counts are not worth an answer."""
    counts = _read(_usage, usage)
    times = _read(_timings, timings)
    if counts is None and times is None:
        return None
    prompt = (counts.prompt_tokens_details if counts is not None else None) or _PromptDetails()
    completion = (counts.completion_tokens_details if counts is not None else None) or _CompletionDetails()
    counts = counts or _Usage()
    times = times or _Timings()
    cached = prompt.cached_tokens if prompt.cached_tokens is not None else counts.prompt_cache_hit_tokens
    report = TokenReport(
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        cached_tokens=cached,
        cache_write_tokens=prompt.cache_write_tokens,
        reasoning_tokens=completion.reasoning_tokens,
        prompt_ns=_nanoseconds(times.prompt_ms),
        completion_ns=_nanoseconds(times.predicted_ms),
    )
    return report if report != TokenReport() else None


def _read(decoder: msgspec.json.Decoder[_T], value: msgspec.Raw) -> _T | None:
    if bytes(value) in (b"", b"null"):
        return None
    try:
        return decoder.decode(value)
    except UNREADABLE:
        return None


def _nanoseconds(milliseconds: float | None) -> int | None:
    if milliseconds is None or not 0 <= milliseconds < 1e12:
        return None
    return round(milliseconds * _NS_PER_MS)


def write_usage(tokens: TokenReport) -> dict[str, object]:
    """OpenAI's SDKs add these up: a count that the engine did not say is 0."""
    prompt, completion = tokens.prompt_tokens or 0, tokens.completion_tokens or 0
    usage: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    details = {"cached_tokens": tokens.cached_tokens, "cache_write_tokens": tokens.cache_write_tokens}
    if said := {name: count for name, count in details.items() if count is not None}:
        usage["prompt_tokens_details"] = said
    if tokens.reasoning_tokens is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning_tokens}
    return usage
