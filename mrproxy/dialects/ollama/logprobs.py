"""Pure. Log probabilities: Ollama's list of tokens ↔ OpenAI's object, which is the canonical one.

A chat's object is `{"content": [...]}` with the same tokens; a completion's has four lists beside each other:
`tokens`, `token_logprobs`, `top_logprobs`, `text_offset`. What comes in either shape can be told to callers of Ollama.
Sources: ollama api/types.go (Logprob), v0.17.4 (February 2026); openai-python types ChoiceLogprobs,
CompletionChoice.Logprobs (2026).
"""

from collections.abc import Sequence

import msgspec

from mrproxy.dialects.unreadable import UNREADABLE

_encode = msgspec.json.Encoder().encode


class TokenLogprob(msgspec.Struct, gc=False, omit_defaults=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(TokenLogprob, gc=False, omit_defaults=True):
    top_logprobs: list[TokenLogprob] | None = None


class _OpenAILogprob(msgspec.Struct, gc=False):
    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: "list[_OpenAITop]"


class _OpenAITop(msgspec.Struct, gc=False):
    token: str
    logprob: float
    bytes: list[int] | None


class _Either(msgspec.Struct, gc=False):
    """A chat's object, or a completion's."""

    content: list[Logprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


_either = msgspec.json.Decoder(_Either)


def of_chat(tokens: Sequence[Logprob]) -> msgspec.Raw:
    """OpenAI's object of a chat."""
    return msgspec.Raw(_encode({"content": [_full(token) for token in tokens]}))


def _full(token: Logprob) -> _OpenAILogprob:
    top = [_OpenAITop(other.token, other.logprob, other.bytes) for other in token.top_logprobs or ()]
    return _OpenAILogprob(token.token, token.logprob, token.bytes, top)


def of_completion(tokens: Sequence[Logprob], offset: int) -> msgspec.Raw:
    """OpenAI's object of a completion. `offset`: how many characters of the answer came before."""
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    has_top = any(token.top_logprobs for token in tokens)
    return msgspec.Raw(
        _encode(
            {
                "tokens": [token.token for token in tokens],
                "token_logprobs": [token.logprob for token in tokens],
                "top_logprobs": [_by_token(token) for token in tokens] if has_top else None,
                "text_offset": offsets,
            }
        )
    )


def _by_token(token: Logprob) -> dict[str, float]:
    return {other.token: other.logprob for other in token.top_logprobs or ()}


def of_ollama(content: msgspec.Raw) -> list[Logprob]:
    """Either of OpenAI's objects as Ollama's list; empty if it is neither. Tokens without a number are left out."""
    try:
        found = _either.decode(content)
    except UNREADABLE:
        return []
    if found.content is not None:
        for token in found.content:
            token.top_logprobs = token.top_logprobs or None
        return found.content
    numbers = found.token_logprobs or []
    tops = found.top_logprobs or [None] * len(numbers)
    return [
        Logprob(token, number, top_logprobs=[TokenLogprob(*pair) for pair in top.items()] if top else None)
        for token, number, top in zip(found.tokens or [], numbers, tops, strict=False)
        if number is not None
    ]
