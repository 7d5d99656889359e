"""Pure. A shallow decode of Anthropic's requests for the straight lane: model, stream and bound, the rest stays bytes.

Source: Anthropic API reference, "Create a Message" and "Count tokens in a Message" (2026).
"""

import msgspec

from mrproxy.canonical.request import Operation, Request, Shape
from mrproxy.dialects.anthropic.fields import missing, read


class _Asked(msgspec.Struct, gc=False):
    model: str
    stream: bool | None = None
    max_tokens: int | None = None


_decoder = msgspec.json.Decoder(_Asked)


def decode_messages(body: bytes, operation: Operation) -> Request:
    """Raises ClientError. Streams always have their usage, so nothing has to be asked for and nothing is cut."""
    asked = read(_decoder, body)
    if not asked.model:
        raise missing("model")
    # Its presence is all that is looked at: views of every message would cost more than all the rest.
    if b'"messages"' not in body:
        raise missing("messages")
    if operation is Operation.COUNT_TOKENS:
        return Request(asked.model, body, Shape.JSON, 0, 0, False)
    if asked.max_tokens is None:
        raise missing("max_tokens")
    bound = asked.max_tokens if asked.max_tokens >= 0 else None
    shape = Shape.SSE if asked.stream else Shape.JSON
    return Request(asked.model, body, shape, len(body), bound, False)
