"""Pure. Embeddings: requests and vectors, each way.

Vectors are lists of numbers, or base64 of little-endian float32 (a third of the bytes; OpenAI's SDKs ask for it).
Dimensions that an engine cannot give are refused: vectors of another length fit none that the caller has.
Sources: OpenAI API reference, "Create embeddings" (2026); vLLM pooling protocol, `truncate_prompt_tokens` (2026).
"""

import sys
from array import array
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from math import isfinite
from typing import Literal

import msgspec

from mrproxy.canonical.conversation import EmbeddingRequest
from mrproxy.canonical.deltas import TokenReport, Vectors
from mrproxy.dialects.codec import AnswerContext, Encoded, Target
from mrproxy.dialects.openai.completions import read_inputs
from mrproxy.dialects.openai.engines import engine_of
from mrproxy.dialects.openai.fields import (
    decode,
    ignore,
    invalid,
    left_over,
    members,
    missing,
    pass_on,
)
from mrproxy.dialects.openai.sampling import write_engine_wishes
from mrproxy.dialects.openai.tokens import read_report
from mrproxy.dialects.unreadable import UNREADABLE

# vLLM: cut the input to what the model takes.
_TO_THE_MODELS_LENGTH = -1


class _Embedding(msgspec.Struct):
    model: str = ""
    input: str | list[str | int | list[int]] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


_embedding = msgspec.json.Decoder(_Embedding)
_KNOWN = frozenset(_Embedding.__struct_fields__)


def decode_embedding(body: bytes) -> EmbeddingRequest:
    """Raises ClientError with the field as its param."""
    asked = decode(_embedding, body)
    if not asked.model:
        raise missing("model")
    inputs = read_inputs(asked.input, "input")
    return EmbeddingRequest(
        model=asked.model,
        inputs=inputs,
        is_single=isinstance(asked.input, str) or (isinstance(asked.input, list) and isinstance(asked.input[0], int)),
        dimensions=asked.dimensions,
        wants_base64=asked.encoding_format == "base64",
        user=asked.user,
        extras=left_over(members(body), _KNOWN),
    )


def encode_embedding(request: EmbeddingRequest, target: Target) -> Encoded:
    """Raises ClientError."""
    engine = engine_of(target.kind)
    warnings: list[str] = []
    inputs = request.inputs
    body: dict[str, object] = {"model": target.model, "input": inputs[0] if request.is_single else inputs}
    if request.wants_base64:
        body["encoding_format"] = "base64"
    if request.dimensions is not None:
        if not engine.has_dimensions:
            raise invalid("dimensions", f"{engine.label} gives vectors of the model's own dimensions only")
        body["dimensions"] = request.dimensions
    if request.truncate and engine.prompt_truncation:
        body[engine.prompt_truncation] = _TO_THE_MODELS_LENGTH
    elif request.truncate:  # false is what they do anyway: an input that is too long is an error
        ignore(["truncate"], engine.label, warnings)
    if request.user is not None:
        body["user"] = request.user
    write_engine_wishes(request.context_length, request.keep_alive, request.engine_options, engine, body, warnings)
    pass_on(request.extras, body, engine.label, warnings)
    return Encoded(msgspec.json.encode(body), tuple(warnings))


class _Vector(msgspec.Struct):
    embedding: tuple[float, ...] | str
    index: int | None = None


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()


_vectors = msgspec.json.Decoder(_Vectors)


def decode_vectors(body: bytes) -> Vectors:
    """Raises ValueError if it is none."""
    try:
        answer = _vectors.decode(body)
    except UNREADABLE as exc:
        raise ValueError(f"the engine's answer holds no embeddings: {exc}") from None
    order = [number if one.index is None else one.index for number, one in enumerate(answer.data)]
    if sorted(order) != list(range(len(order))):
        raise ValueError("the engine's embeddings are not numbered one by one")
    ordered = [one for _, one in sorted(zip(order, answer.data, strict=True), key=lambda pair: pair[0])]
    report = read_report(answer.usage, msgspec.Raw())
    return Vectors(
        vectors=tuple(_read_vector(one.embedding) for one in ordered),
        tokens=report if report is not None else TokenReport(),
        model=answer.model or "",
    )


def _read_vector(embedding: tuple[float, ...] | str) -> tuple[float, ...]:
    if not isinstance(embedding, str):
        return embedding
    floats = array("f")
    try:
        floats.frombytes(a2b_base64(embedding, strict_mode=True))
    except (Base64Error, ValueError) as exc:
        raise ValueError(f"the engine's embedding is not base64 of float32: {exc}") from None
    if sys.byteorder == "big":
        floats.byteswap()
    if not all(map(isfinite, floats)):
        raise ValueError("the engine's embedding has no finite numbers")
    return tuple(floats)


def encode_vectors(vectors: Vectors, request: EmbeddingRequest, context: AnswerContext) -> bytes:
    tokens = vectors.tokens.prompt_tokens or 0
    data = [
        {"object": "embedding", "index": number, "embedding": _pack(vector) if request.wants_base64 else vector}
        for number, vector in enumerate(vectors.vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": context.model, "usage": usage})


def _pack(vector: tuple[float, ...]) -> str:
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return b64encode(floats.tobytes()).decode()
