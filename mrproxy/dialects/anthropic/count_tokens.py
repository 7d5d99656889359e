"""Pure. POST /v1/messages/count_tokens: how many tokens a conversation would have as a prompt.

Who counts them is decided elsewhere. Source: Anthropic API reference, "Count tokens in a Message" (2026).
"""

import msgspec

from mrproxy.canonical.conversation import ChatRequest
from mrproxy.dialects.anthropic.requests import read_request


def decode_count_tokens(body: bytes) -> ChatRequest:
    """A request for Messages without `max_tokens`. Raises ClientError."""
    return read_request(body, needs_bound=False)


def encode_count(input_tokens: int) -> bytes:
    return msgspec.json.encode({"input_tokens": input_tokens})
