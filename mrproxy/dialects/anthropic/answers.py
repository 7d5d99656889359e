"""Pure. Answers of the Messages API, both ways: the decoders of `reading.py`, the encoders of `writing.py`."""

from mrproxy.dialects.anthropic.reading import ChatDocumentDecoder, ChatStreamDecoder
from mrproxy.dialects.anthropic.writing import ChatDocumentEncoder, ChatStreamEncoder

__all__ = ["ChatDocumentDecoder", "ChatDocumentEncoder", "ChatStreamDecoder", "ChatStreamEncoder"]
