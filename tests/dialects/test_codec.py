"""The protocols of the translating lane, asked of every class that claims to fulfil them."""

import json
from typing import Any

import pytest

from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    Report,
    TextDelta,
    TokenReport,
)
from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.codec import AnswerContext, AnswerDecoder, Encoded, Target
from tests.dialects.codecs import BROKEN_OFF, CODECS, CONTEXT, HTML, REQUEST_ID, Codec, Heard, decoded, encoded, heard

ANSWER: list[Delta] = [
    Begin("theirs", "own", 1_700_000_000),
    TextDelta("Grü"),
    TextDelta("ße 🌍\n"),
    Finish(FinishReason.LENGTH),
    Report(TokenReport(7, 3)),
    End(),
]
WHOLE = Heard(text="Grüße 🌍\n", reason="LENGTH", usage=Usage(7, 3))
READ = {name: codec for name, codec in CODECS.items() if codec.decoder is not None}
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
every_decoder = pytest.mark.parametrize("name", READ)


def decoder_of(name: str) -> AnswerDecoder:
    make = CODECS[name].decoder
    assert make is not None
    return make(REQUEST_ID)


def answer_of(name: str) -> bytes:
    return encoded(CODECS[name].encoder(CONTEXT), ANSWER)


# Decoders


@every_decoder
def test_what_an_encoder_says_its_decoder_hears_byte_by_byte_too(name: str) -> None:
    data = answer_of(name)
    assert heard(decoded(decoder_of(name), [data])) == WHOLE
    assert heard(decoded(decoder_of(name), [bytes([byte]) for byte in data])) == WHOLE


@every_decoder
def test_an_answer_ends_once_and_then_there_is_nothing_more(name: str) -> None:
    decoder = decoder_of(name)
    deltas = decoded(decoder, [answer_of(name)])
    assert [type(delta) for delta in deltas if isinstance(delta, End | Failure)] == [End]
    assert isinstance(deltas[-1], End)
    assert decoder.finish() == []


@every_decoder
def test_an_answer_that_is_cut_off_anywhere_is_a_failure(name: str) -> None:
    data = answer_of(name).rstrip()
    for place in range(len(data)):
        deltas = decoded(decoder_of(name), [data[:place]])
        if isinstance(deltas[-1], End):
            # Nothing is missing but the end marker's own framing.
            assert place >= data.rfind(b"\n")
            assert heard(deltas) == WHOLE
        else:
            assert isinstance(deltas[-1], Failure)
            assert WHOLE.text.startswith(heard(deltas).text)


@every_decoder
@pytest.mark.parametrize("data", [HTML, b"", b"\xff\xfe", b"{", b"[]", b"null", b"data: x\n\n", b"\n\n\n"])
def test_what_is_no_answer_is_one_failure(name: str, data: bytes) -> None:
    for pieces in ([data], [data[:3], data[3:]]):
        deltas = decoded(decoder_of(name), pieces)
        assert [type(delta) for delta in deltas if isinstance(delta, End | Failure)] == [Failure]
        assert heard(deltas).failure
        assert heard(deltas).text == ""


@every_decoder
def test_an_error_of_the_engine_is_told_in_its_own_words(name: str) -> None:
    dialect, _, shape = name.split()
    if shape == "stream":
        data = CODECS[name].encoder(CONTEXT).send(ANSWER[:3]) + BROKEN_OFF[dialect]
    else:
        data = BROKEN_OFF[dialect][BROKEN_OFF[dialect].index(b"{") :]
    told = heard(decoded(decoder_of(name), [data]))
    assert "boom" in told.failure
    assert told.text == (WHOLE.text if shape == "stream" else "")


# Encoders


@every_codec
def test_an_encoder_that_was_given_nothing_says_nothing_yet(codec: Codec) -> None:
    encoder = codec.encoder(CONTEXT)
    assert encoder.send([]) == b""


@every_codec
def test_its_content_type_says_what_it_is(codec: Codec) -> None:
    kind = codec.encoder(CONTEXT).content_type.split(b";")[0]
    assert kind in ((b"application/json",) if codec.is_document else (b"text/event-stream", b"application/x-ndjson"))


@every_codec
def test_a_document_is_said_at_its_end_and_a_stream_as_it_comes(codec: Codec) -> None:
    encoder = codec.encoder(CONTEXT)
    first = encoder.send(ANSWER[:3])
    if codec.is_document:
        assert first + encoder.send(ANSWER[3:]) == b""
        json.loads(encoder.finish())
    else:
        assert "🌍".encode() in first
        encoder.send(ANSWER[3:])
        assert encoder.finish()


@every_codec
def test_however_the_deltas_come_the_answer_is_the_same(codec: Codec) -> None:
    """But for counts: Anthropic's stream has them at its beginning, if they are known by then."""
    uncounted = [delta for delta in ANSWER if not isinstance(delta, Report)]
    at_once = codec.encoder(CONTEXT)
    assert at_once.send(uncounted) + at_once.finish() == encoded(codec.encoder(CONTEXT), uncounted)


@every_codec
def test_an_answer_has_the_callers_name_of_the_model_and_not_the_engines(codec: Codec) -> None:
    data = encoded(codec.encoder(CONTEXT), ANSWER)
    assert b'"public"' in data
    assert b'"own"' not in data


@every_codec
def test_an_answer_without_anything_is_one_all_the_same(codec: Codec) -> None:
    encoder = codec.encoder(CONTEXT)
    assert encoder.send([End()]) + encoder.finish()


@every_codec
def test_a_ping_changes_nothing_of_what_is_heard(codec: Codec) -> None:
    if codec.decoder is None or codec.is_document:
        assert codec.encoder(CONTEXT).ping() == (b"" if codec.is_document else b": ping\n\n")
        return
    encoder = codec.encoder(CONTEXT)
    data = encoder.ping() + encoder.send(ANSWER[:3]) + encoder.ping() + encoder.send(ANSWER[3:]) + encoder.finish()
    assert heard(decoded(codec.decoder(REQUEST_ID), [data])) == WHOLE


# The values that go with them


@pytest.mark.parametrize(
    ("value", "defaults"),
    [
        (Target("vllm", "m"), {"context_length": None, "is_context_fixed": True}),
        (Encoded(b"{}"), {"warnings": ()}),
        (AnswerContext("id", "m", 1.5), {"include_usage": True}),
    ],
)
def test_what_is_not_said_has_a_default_and_nothing_changes(value: Any, defaults: dict[str, object]) -> None:
    for name, default in defaults.items():
        assert getattr(value, name) == default
        with pytest.raises(AttributeError):
            setattr(value, name, default)
