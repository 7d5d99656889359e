"""Which tap looks at an answer of the straight lane."""

import pytest

from mrproxy.canonical.exchange import Usage
from mrproxy.canonical.request import Shape
from mrproxy.dialects.anthropic.usage import MessagesTap
from mrproxy.dialects.responses.usage import ResponsesTap
from mrproxy.dialects.taps import make_tap, read_document_usage
from mrproxy.dialects.usage import JsonTap, NdjsonTap, SseTap, Tap

DOCUMENTS = {
    "openai": b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}',
    "ollama": b'{"message":{"content":"hi"},"done":true,"prompt_eval_count":7,"eval_count":3}',
    "anthropic": b'{"content":[],"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":3}}',
    "responses": b'{"output":[],"usage":{"input_tokens":7,"output_tokens":3}}',
}
STREAMS = {
    "openai": b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n',
    "ollama": b'{"message":{"content":""},"done":true,"prompt_eval_count":7,"eval_count":3}\n',
    "anthropic": b'data: {"type":"message_delta","usage":{"input_tokens":7,"output_tokens":3}}\n\n',
    "responses": b'data: {"type":"response.completed","response":{"usage":{"input_tokens":7,"output_tokens":3}}}\n\n',
}
TAPS: list[tuple[str, Shape, type[Tap]]] = [
    ("openai", Shape.SSE, SseTap),
    ("openai", Shape.JSON, JsonTap),
    ("ollama", Shape.NDJSON, NdjsonTap),
    ("ollama", Shape.JSON, JsonTap),
    ("anthropic", Shape.SSE, MessagesTap),
    ("anthropic", Shape.JSON, MessagesTap),
    ("responses", Shape.SSE, ResponsesTap),
    ("responses", Shape.JSON, ResponsesTap),
]


@pytest.mark.parametrize(("dialect", "shape", "kind"), TAPS)
def test_each_dialect_and_shape_has_its_tap(dialect: str, shape: Shape, kind: type[Tap]) -> None:
    tap = make_tap(dialect, shape, cuts=False)
    assert type(tap) is kind
    data = DOCUMENTS[dialect] if shape is Shape.JSON else STREAMS[dialect]
    assert tap.receive_data(data) + tap.finish() == data
    assert tap.usage == Usage(7, 3)


def test_only_openais_streams_have_an_event_to_cut() -> None:
    cutting = [(dialect, shape) for dialect, shape, _ in TAPS if make_tap(dialect, shape, cuts=True).cuts]
    assert cutting == [("openai", Shape.SSE)]


@pytest.mark.parametrize("dialect", DOCUMENTS)
def test_a_whole_document_is_read_as_its_tap_reads_it(dialect: str) -> None:
    assert read_document_usage(DOCUMENTS[dialect], dialect) == Usage(7, 3)
    for broken in (b"", b"{", b"\xff", b"null"):
        assert read_document_usage(broken, dialect) is None
