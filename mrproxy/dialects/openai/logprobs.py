"""Pure. The logprobs of a document from those of a stream: a chat's `{"content": [...], "refusal": null}`, or a
completion's `{"tokens": [...], "token_logprobs": [...], …}`. Lists of one name are joined.
"""

from collections.abc import Iterable

import msgspec

from mrproxy.dialects.openai.fields import UNREADABLE

_lists = msgspec.json.Decoder(dict[str, list[msgspec.Raw] | None])


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
