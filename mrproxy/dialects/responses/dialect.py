"""Pure. Responses as a dialect: OpenAI's errors, but streams of its own.

Source: OpenAI API reference, "Responses" and "Streaming events" (2026).
"""

from mrproxy.dialects.openai import OpenAI
from mrproxy.dialects.responses.answers import encode_stream_failure
from mrproxy.dialects.responses.shallow import decode_responses
from mrproxy.errors import ProxyError


class Responses(OpenAI):
    """The dialect of `/v1/responses`."""

    name = "responses"

    decode = staticmethod(decode_responses)

    def encode_stream_error(self, error: ProxyError, request_id: bytes) -> bytes:
        """For a stream in which nothing was said yet: otherwise its encoder knows the sequence number."""
        return encode_stream_failure(error.message, error.code.value, 0)


RESPONSES = Responses()
