"""Requests that are forms: the one model, whether it streams, what is text; and the model's other name put in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.request import Shape
from mrproxy.dialects.forms import FormRequest, decode_form
from mrproxy.errors import ClientError
from tests.wire.test_multipart import AUDIO, BOUNDARY, form, part

MODEL = part(b"model", b"whisper-1")


def decode(*parts: bytes) -> FormRequest:
    return decode_form(form(*parts), BOUNDARY)


def test_the_form_passes_as_it_came_and_its_texts_are_its_size() -> None:
    body = form(AUDIO, MODEL, part(b"prompt", b"A talk."))
    request = decode_form(body, BOUNDARY)
    assert request.body is body
    assert (request.model, request.shape, request.max_tokens, request.cuts_usage) == ("whisper-1", Shape.JSON, 0, False)
    assert request.prompt_bytes == len("whisper-1") + len("A talk.")


@pytest.mark.parametrize("value", [b"true", b"True", b"1", b"on"])
def test_a_stream_is_one(value: bytes) -> None:
    assert decode(MODEL, part(b"stream", value), AUDIO).shape is Shape.SSE


@pytest.mark.parametrize("value", [b"false", b"0", b"", b"no"])
def test_no_stream_is_none(value: bytes) -> None:
    assert decode(MODEL, part(b"stream", value), AUDIO).shape is Shape.JSON


def test_a_file_of_that_name_streams_nothing() -> None:
    assert decode(MODEL, part(b"stream", b"true", more=b'; filename="a"')).shape is Shape.JSON


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((AUDIO,), "missing_field"),
        ((part(b"model", b""), AUDIO), "missing_field"),
        ((MODEL, AUDIO, MODEL), "invalid_field"),
        ((MODEL, part(b"Model", b"other")), "invalid_field"),
        ((part(b"MODEL", b"m"),), "invalid_field"),
        ((part(b"model", b"m", more=b'; filename="m"'),), "invalid_field"),
        ((part(b"model", b"bQ==", b"Content-Transfer-Encoding: base64"),), "invalid_field"),
        ((part(b"model", b"\xff"),), "invalid_field"),
    ],
)
def test_there_is_one_model_for_every_reader(parts: tuple[bytes, ...], code: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode(*parts)
    assert (caught.value.code, caught.value.param) == (code, "model")


def test_a_field_of_an_object_is_another_field() -> None:
    assert decode(part(b"svg[model]", b"other"), MODEL).model == "whisper-1"


@pytest.mark.parametrize("body", [b"", b"{}", form(MODEL)[1:], form(MODEL) + b"x"])
def test_what_is_no_form_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ClientError, match="no multipart/form-data") as caught:
        decode_form(body, BOUNDARY)
    assert caught.value.status == 400


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_another_name_changes_nothing_else(name: str) -> None:
    request = decode(AUDIO, MODEL, part(b"prompt", b"whisper-1"))
    renamed = request.renamed(name)
    assert renamed == form(AUDIO, part(b"model", name.encode()), part(b"prompt", b"whisper-1"))
    assert decode_form(renamed, BOUNDARY).model == name
