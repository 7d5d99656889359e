"""Pure. /api/embed, both ways, and for callers the older /api/embeddings.

Empty inputs ask for nothing but that the model be loaded; they are answered without vectors.
Sources: ollama docs/api.md, api/types.go (EmbedRequest, EmbeddingRequest), server/routes.go (EmbedHandler,
EmbeddingsHandler), v0.17.4 (February 2026).
"""

from collections.abc import Sequence

import msgspec

from mrproxy.canonical.conversation import EmbeddingRequest
from mrproxy.canonical.deltas import TokenReport, Vectors
from mrproxy.dialects.codec import AnswerContext, Encoded, Target
from mrproxy.dialects.ollama.fields import OBJECT, Fields, invalid, is_said, read_whole
from mrproxy.dialects.ollama.wishes import read_keep_alive, write_extras, write_options
from mrproxy.dialects.unreadable import UNREADABLE

_input = msgspec.json.Decoder(str | list[str])


class _Embedded(msgspec.Struct, gc=False):
    embeddings: tuple[tuple[float, ...], ...]
    model: str = ""
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None


_embedded = msgspec.json.Decoder(_Embedded)


def decode_embedding(body: bytes) -> EmbeddingRequest:
    """Raises ClientError."""
    fields = Fields(body)
    given = fields.take("input", _input) or ()
    dimensions = fields.whole("dimensions")
    return _request(
        fields,
        inputs=(given,) if isinstance(given, str) else tuple(given),
        is_single=isinstance(given, str),
        dimensions=dimensions if dimensions is not None and dimensions > 0 else None,
        truncate=fields.flag("truncate"),
    )


def decode_embedding_legacy(body: bytes) -> EmbeddingRequest:
    """/api/embeddings: one `prompt`. Raises ClientError."""
    fields = Fields(body)
    prompt = fields.text("prompt")
    return _request(fields, inputs=() if prompt is None else (prompt,), is_single=True)


def _request(
    fields: Fields,
    *,
    inputs: Sequence[str],
    is_single: bool,
    dimensions: int | None = None,
    truncate: bool | None = None,
) -> EmbeddingRequest:
    options = {name: value for name, value in (fields.take("options", OBJECT) or {}).items() if is_said(value)}
    num_ctx = options.pop("num_ctx", None)
    return EmbeddingRequest(
        model=fields.model(),
        inputs=tuple(inputs),
        is_single=is_single,
        dimensions=dimensions,
        truncate=truncate,
        keep_alive=read_keep_alive(fields),
        context_length=None if num_ctx is None else read_whole(num_ctx, "options.num_ctx"),
        engine_options=options,
        extras=fields.rest(),
    )


def encode_embedding(request: EmbeddingRequest, target: Target) -> Encoded:
    """For /api/embed. Raises ClientError: Ollama takes no token ids. What callers want packed, the answer packs."""
    warnings: list[str] = []
    texts = [text for text in request.inputs if isinstance(text, str)]
    if len(texts) != len(request.inputs):
        raise invalid("input", "Ollama takes texts, not tokens")
    body: dict[str, object] = {"model": target.model, "input": texts[0] if request.is_single and texts else texts}
    for name in ("truncate", "dimensions", "keep_alive"):
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    options = write_options(request, target, warnings)
    if options:
        body["options"] = options
    if request.user is not None:
        warnings.append("user is ignored: Ollama has none")
    write_extras(request.extras, body, warnings)
    return Encoded(msgspec.json.encode(body), tuple(warnings))


def decode_vectors(body: bytes) -> Vectors:
    """Of /api/embed. Raises ValueError."""
    try:
        found = _embedded.decode(body)
    except UNREADABLE as exc:
        raise ValueError(f"the engine's answer has no embeddings: {exc}") from None
    tokens = TokenReport(
        prompt_tokens=found.prompt_eval_count, load_ns=found.load_duration, total_ns=found.total_duration
    )
    return Vectors(found.embeddings, tokens, found.model)


# Their parameters are those of every dialect's `encode_vectors`.
def encode_vectors(vectors: Vectors, request: EmbeddingRequest, context: AnswerContext) -> bytes:  # noqa: ARG001
    """For callers of /api/embed: a list of vectors, even of one input."""
    tokens = vectors.tokens
    counts = {
        "total_duration": tokens.total_ns,
        "load_duration": tokens.load_ns,
        "prompt_eval_count": tokens.prompt_tokens,
    }
    said = {name: count for name, count in counts.items() if count is not None}
    return msgspec.json.encode({"model": context.model, "embeddings": vectors.vectors} | said)


def encode_vectors_legacy(
    vectors: Vectors,
    request: EmbeddingRequest,  # noqa: ARG001
    context: AnswerContext,  # noqa: ARG001
) -> bytes:
    """For callers of /api/embeddings: one vector, and nothing else."""
    return msgspec.json.encode({"embedding": vectors.vectors[0] if vectors.vectors else ()})
