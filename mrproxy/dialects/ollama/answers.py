"""Pure. /api/chat answered, both ways. How lines are read: `lines.py`; how they are written: `writing.py`."""

from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.ollama.lines import Answer, DocumentDecoder, StreamDecoder
from mrproxy.dialects.ollama.writing import CHAT, DocumentEncoder, StreamEncoder


class ChatStreamDecoder(StreamDecoder):
    __slots__ = ()

    def __init__(self, request_id: str) -> None:
        super().__init__(Answer(request_id, is_completion=False))


class ChatDocumentDecoder(DocumentDecoder):
    __slots__ = ()

    def __init__(self, request_id: str) -> None:
        super().__init__(Answer(request_id, is_completion=False))


class ChatStreamEncoder(StreamEncoder):
    __slots__ = ()

    def __init__(self, context: AnswerContext) -> None:
        super().__init__(context, CHAT)


class ChatDocumentEncoder(DocumentEncoder):
    __slots__ = ()

    def __init__(self, context: AnswerContext) -> None:
        super().__init__(context, CHAT)
