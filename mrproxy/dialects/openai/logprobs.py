"""Pure. The logprobs of a document from those of a stream: a chat's `{"content": [...], "refusal": null}`, or a
completion's `{"tokens": [...], "token_logprobs": [...], …}`. Lists of one name are joined.
"""

from collections.abc import Iterable

import msgspec

from mrproxy.canonical.deltas import Delta, Logprobs
from mrproxy.dialects.unreadable import UNREADABLE

_lists = msgspec.json.Decoder(dict[str, list[msgspec.Raw] | None])


def read_logprobs(raw: msgspec.Raw, choice: int, deltas: list[Delta]) -> None:
    """They go to the caller as they are, so they must be text: what is skipped unread need not be UTF-8.

    Raises UnicodeDecodeError.
    """
    str(raw, "utf-8")
    deltas.append(Logprobs(raw, choice))


def join_logprobs(pieces: Iterable[msgspec.Raw]) -> dict[str, list[msgspec.Raw] | None] | None:
    """None where there are none. A piece of another shape is left out: an answer is worth more than its logprobs."""
    joined: dict[str, list[msgspec.Raw] | None] = {}
    for piece in pieces:
        try:
            found = _lists.decode(piece)
        except UNREADABLE:
            continue
        for name, values in found.items():
            if values is None:
                joined.setdefault(name, None)
            else:
                joined[name] = [*(joined.get(name) or ()), *values]
    return joined or None


class _Top(msgspec.Struct, gc=False):
    token: str
    logprob: float


class _Token(_Top, gc=False):
    top_logprobs: list[_Top] = []


class _ChatLogprobs(msgspec.Struct, gc=False):
    content: list[_Token]


_chat = msgspec.json.Decoder(_ChatLogprobs)


def as_completion(logprobs: msgspec.Raw, offset: int) -> msgspec.Raw:
    """A chat's logprobs in a completion's shape; `offset`: where the text begins that they belong to, in characters.

    llama.cpp's /v1/completions says them so, and Ollama's engines. Those of another shape stay as they are.
    """
    try:
        tokens = _chat.decode(logprobs).content
    except UNREADABLE:
        return logprobs
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return msgspec.Raw(
        msgspec.json.encode(
            {
                "tokens": [token.token for token in tokens],
                "token_logprobs": [token.logprob for token in tokens],
                "top_logprobs": [{top.token: top.logprob for top in token.top_logprobs} for token in tokens],
                "text_offset": offsets,
            }
        )
    )
