"""Pure. The translating lane, put together: which decoder and which encoder make a caller's request an engine's.

    chats        OpenAI chat, Responses, Anthropic messages, Ollama chat → ChatRequest → the engine's chat
    texts        OpenAI completions, Ollama generate → TextRequest → the engine's completion, or a chat with one turn
    embeddings   OpenAI's, Ollama's two → EmbeddingRequest → the engine's

`read_asked` reads the caller's body once per request, `translate` writes it for one backend, once per attempt.
Not here: fetching images (`mrproxy/images.py`), keeping responses (`mrproxy/attempts.py`).
Read next: `lanes.py` (when), `codec.py` (what a dialect has to bring), docs/dialects.md (every field).
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from mrproxy.canonical.conversation import ChatRequest, EmbeddingRequest, Image, TextRequest
from mrproxy.canonical.deltas import Delta, End, Failure, Finish, Report, Vectors
from mrproxy.canonical.request import Operation
from mrproxy.dialects import media
from mrproxy.dialects.anthropic import answers as anthropic_answers
from mrproxy.dialects.anthropic import requests as anthropic_requests
from mrproxy.dialects.codec import AnswerContext, AnswerDecoder, AnswerEncoder, Encoded, Target
from mrproxy.dialects.monologue import as_chat
from mrproxy.dialects.ollama import answers as ollama_answers
from mrproxy.dialects.ollama import embeddings as ollama_embeddings
from mrproxy.dialects.ollama import generate as ollama_generate
from mrproxy.dialects.ollama import requests as ollama_requests
from mrproxy.dialects.openai import answers as openai_answers
from mrproxy.dialects.openai import completions as openai_completions
from mrproxy.dialects.openai import embeddings as openai_embeddings
from mrproxy.dialects.openai import requests as openai_requests
from mrproxy.dialects.responses.answers import ResponsesDocumentEncoder, ResponsesStreamEncoder
from mrproxy.dialects.responses.requests import ResponsesRequest
from mrproxy.dialects.tapping import Check, TranslatingTap

Canonical: TypeAlias = ChatRequest | TextRequest | EmbeddingRequest


class Asked(msgspec.Struct, frozen=True):
    """What a caller wants, read. `response`: it is a Responses request, whose chat `request` is."""

    dialect: str
    operation: Operation
    request: Canonical
    response: ResponsesRequest | None = None

    @property
    def streams(self) -> bool:
        return not isinstance(self.request, EmbeddingRequest) and self.request.streams

    def with_images(self, images: dict[str, Image]) -> "Asked":
        """URLs replaced by what was fetched from them."""
        assert not isinstance(self.request, EmbeddingRequest)
        request = self.request
        if isinstance(request, ChatRequest):
            return msgspec.structs.replace(self, request=media.with_images(request, images))
        return msgspec.structs.replace(self, request=media.with_images(request, images))


class Translation(msgspec.Struct):
    """What one backend gets, and the tap that makes its answer the caller's. `path` is below the backend's prefix."""

    path: bytes
    body: bytes
    tap: TranslatingTap
    encoder: AnswerEncoder
    warnings: tuple[str, ...]


_READERS: dict[tuple[str, Operation], Callable[[bytes], Canonical]] = {
    ("openai", Operation.CHAT): openai_requests.decode_chat,
    ("openai", Operation.COMPLETIONS): openai_completions.decode_text,
    ("openai", Operation.EMBEDDINGS): openai_embeddings.decode_embedding,
    ("ollama", Operation.CHAT): ollama_requests.decode_chat,
    ("ollama", Operation.GENERATE): ollama_generate.decode_text,
    ("ollama", Operation.EMBED): ollama_embeddings.decode_embedding,
    ("ollama", Operation.EMBEDDINGS): ollama_embeddings.decode_embedding_legacy,
    ("anthropic", Operation.MESSAGES): anthropic_requests.decode_chat,
}


def read_asked(dialect: str, operation: Operation, body: bytes) -> Asked:
    """Everything but Responses requests, which need what was stored. Raises ClientError."""
    return Asked(dialect, operation, _READERS[dialect, operation](body))


def answer_to_nothing(asked: Asked, context: AnswerContext) -> bytes | None:
    """The document that answers a request which asks nothing of the model: Ollama's clients load and unload models so,
    and an engine of another kind has its model anyway; or an embedding of no inputs. None for everything else."""
    request = asked.request
    if isinstance(request, EmbeddingRequest):
        if request.inputs:
            return None
        return _VECTOR_WRITERS[asked.dialect, asked.operation](Vectors(()), request, context)
    if asked.dialect != "ollama":
        return None
    reason = ollama_requests.load_reason(request)
    if reason is None:
        return None
    _, document = _ENCODERS[asked.dialect, asked.operation]
    encoder = document(context)
    return encoder.send([Finish(reason), End()]) + encoder.finish()


def needs_bytes(kind: str, asked: Asked) -> tuple[str, ...]:
    """The URLs of images that must be fetched before this kind of engine can see them: Ollama takes bytes only."""
    if kind != "ollama" or isinstance(asked.request, EmbeddingRequest):
        return ()
    return media.find_urls(asked.request)


def translate(asked: Asked, target: Target, context: AnswerContext, check: Check | None = None) -> Translation:
    """For one backend. Raises ClientError for what cannot be said to it."""
    engine = engine_dialect(target.kind)
    request = asked.request
    if isinstance(request, EmbeddingRequest):
        return _embedding(asked, request, engine, target, context)
    if isinstance(request, TextRequest):
        if engine == "ollama" and asked.dialect == "openai":
            # As its own /v1/completions: what the model sees must not depend on the lane.
            request = msgspec.structs.replace(request, raw=False)
        if engine == "ollama" or (engine == "openai" and request.raw):
            encoded, path = _TEXT_WRITERS[engine](request, target)
            decoder = _TEXT_DECODERS[engine][not request.streams](context.request_id)
            return _translation(asked, request, encoded, path, decoder, context, check)
        request = as_chat(request)
    encoded, path = _CHAT_WRITERS[engine](request, target)
    decoder = _CHAT_DECODERS[engine][not request.streams](context.request_id)
    return _translation(asked, request, encoded, path, decoder, context, check)


def engine_dialect(kind: str) -> str:
    """What a backend of this kind is spoken to in, when it has to be translated."""
    return kind if kind in ("ollama", "anthropic") else "openai"


def _translation(
    asked: Asked,
    request: ChatRequest | TextRequest,
    encoded: Encoded,
    path: bytes,
    decoder: AnswerDecoder,
    context: AnswerContext,
    check: Check | None,
) -> Translation:
    """`request` as it was encoded: a text that became a chat has a warning more than what was asked."""
    encoder = _encoder(asked, context)
    is_ollama = asked.dialect == "ollama"
    tap = TranslatingTap(decoder, encoder, is_document=not asked.streams, check=check, tells_durations=is_ollama)
    return Translation(path, encoded.body, tap, encoder, request.warnings + encoded.warnings)


_CHAT_WRITERS: dict[str, Callable[[ChatRequest, Target], tuple[Encoded, bytes]]] = {
    "openai": lambda request, target: (openai_requests.encode_chat(request, target), b"/v1/chat/completions"),
    "ollama": lambda request, target: (ollama_requests.encode_chat(request, target), b"/api/chat"),
    "anthropic": lambda request, target: (anthropic_requests.encode_chat(request, target), b"/v1/messages"),
}
_TEXT_WRITERS: dict[str, Callable[[TextRequest, Target], tuple[Encoded, bytes]]] = {
    "openai": lambda request, target: (openai_completions.encode_text(request, target), b"/v1/completions"),
    "ollama": lambda request, target: (ollama_generate.encode_text(request, target), b"/api/generate"),
}
# engine → (stream, document), each made with the request's id
_CHAT_DECODERS: dict[str, tuple[Callable[[str], AnswerDecoder], Callable[[str], AnswerDecoder]]] = {
    "openai": (openai_answers.ChatStreamDecoder, openai_answers.ChatDocumentDecoder),
    "ollama": (ollama_answers.ChatStreamDecoder, ollama_answers.ChatDocumentDecoder),
    "anthropic": (anthropic_answers.ChatStreamDecoder, anthropic_answers.ChatDocumentDecoder),
}
_TEXT_DECODERS: dict[str, tuple[Callable[[str], AnswerDecoder], Callable[[str], AnswerDecoder]]] = {
    "openai": (openai_completions.TextStreamDecoder, openai_completions.TextDocumentDecoder),
    "ollama": (ollama_generate.TextStreamDecoder, ollama_generate.TextDocumentDecoder),
}
_ENCODERS: dict[
    tuple[str, Operation], tuple[Callable[[AnswerContext], AnswerEncoder], Callable[[AnswerContext], AnswerEncoder]]
] = {
    ("openai", Operation.CHAT): (openai_answers.ChatStreamEncoder, openai_answers.ChatDocumentEncoder),
    ("openai", Operation.COMPLETIONS): (openai_completions.TextStreamEncoder, openai_completions.TextDocumentEncoder),
    ("ollama", Operation.CHAT): (ollama_answers.ChatStreamEncoder, ollama_answers.ChatDocumentEncoder),
    ("ollama", Operation.GENERATE): (ollama_generate.TextStreamEncoder, ollama_generate.TextDocumentEncoder),
    ("anthropic", Operation.MESSAGES): (anthropic_answers.ChatStreamEncoder, anthropic_answers.ChatDocumentEncoder),
}


def _encoder(asked: Asked, context: AnswerContext) -> AnswerEncoder:
    if asked.response is not None:
        if asked.streams:
            return ResponsesStreamEncoder(context, asked.response)
        return ResponsesDocumentEncoder(context, asked.response)
    stream, document = _ENCODERS[asked.dialect, asked.operation]
    return stream(context) if asked.streams else document(context)


# Embeddings: documents only


def _embedding(
    asked: Asked, request: EmbeddingRequest, engine: str, target: Target, context: AnswerContext
) -> Translation:
    if engine == "ollama":
        encoded, path, decode = ollama_embeddings.encode_embedding(request, target), b"/api/embed", _ollama_vectors
    else:
        encoded, path, decode = openai_embeddings.encode_embedding(request, target), b"/v1/embeddings", _openai_vectors
    write = _VECTOR_WRITERS[asked.dialect, asked.operation]
    encoder = _VectorEncoder(lambda vectors: write(vectors, request, context))
    decoder = _VectorDecoder(decode, len(request.inputs), encoder)
    tap = TranslatingTap(decoder, encoder, is_document=True)
    return Translation(path, encoded.body, tap, encoder, request.warnings + encoded.warnings)


_openai_vectors: Callable[[bytes], Vectors] = openai_embeddings.decode_vectors
_ollama_vectors: Callable[[bytes], Vectors] = ollama_embeddings.decode_vectors
_VECTOR_WRITERS: dict[tuple[str, Operation], Callable[[Vectors, EmbeddingRequest, AnswerContext], bytes]] = {
    ("openai", Operation.EMBEDDINGS): openai_embeddings.encode_vectors,
    ("ollama", Operation.EMBED): ollama_embeddings.encode_vectors,
    ("ollama", Operation.EMBEDDINGS): ollama_embeddings.encode_vectors_legacy,
}


# A thousand inputs of 4,096 dimensions as text.
_MAX_VECTOR_BYTES = 128 << 20


class _VectorEncoder:
    """Vectors come all at once, not as deltas: the decoder puts them here."""

    content_type = b"application/json"

    def __init__(self, write: Callable[[Vectors], bytes]) -> None:
        self._write = write
        self.vectors = Vectors(())

    def send(self, deltas: object) -> bytes:
        return b""

    def finish(self) -> bytes:
        return self._write(self.vectors)

    def ping(self) -> bytes:
        return b""


class _VectorDecoder:
    def __init__(self, decode: Callable[[bytes], Vectors], expected: int, encoder: _VectorEncoder) -> None:
        self._decode = decode
        self._expected = expected
        self._encoder = encoder
        self._body = bytearray()

    def receive_data(self, data: bytes) -> list[Delta]:
        self._body += data
        return [Failure("the engine's answer is too large")] if len(self._body) > _MAX_VECTOR_BYTES else []

    def finish(self) -> list[Delta]:
        try:
            vectors = self._decode(bytes(self._body))
        except ValueError as exc:
            return [Failure(f"the engine's answer is not an answer to this request: {exc}")]
        if len(vectors.vectors) != self._expected:
            return [Failure(f"the engine made {len(vectors.vectors)} embeddings of {self._expected} inputs")]
        self._encoder.vectors = vectors
        return [Report(vectors.tokens), End()]
