"""Pure. A shallow decode of Responses requests: model, stream and bound; the rest stays bytes.

Source: OpenAI API reference, "Create a model response" (2026).
"""

import msgspec

from mrproxy.canonical.request import Operation, Request, Shape
from mrproxy.dialects.responses.reading import missing, read


class _Asked(msgspec.Struct, gc=False):
    model: str
    stream: bool | None = None
    max_output_tokens: int | None = None


_decoder = msgspec.json.Decoder(_Asked)


def decode_responses(body: bytes, operation: Operation) -> Request:  # noqa: ARG001 - one signature for all dialects
    """Raises ClientError. A stream's last event always has the usage, so nothing is asked for and nothing is cut."""
    asked = read(_decoder, body, "")
    if not asked.model:
        raise missing("model")
    bound = asked.max_output_tokens
    if bound is not None and bound < 0:
        bound = None
    return Request(asked.model, body, Shape.SSE if asked.stream else Shape.JSON, len(body), bound, False)
