"""Content parts, as OpenAI's API reference gives them (`input`, 2026)."""

import json
from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import Audio, File, Image, Refusal, Text
from mrproxy.dialects.responses.parts import ContentPart, decode_content, decode_texts
from mrproxy.dialects.responses.reading import Warnings
from mrproxy.errors import ClientError


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def decode(*parts: dict[str, Any]) -> tuple[ContentPart, ...]:
    return decode_content(raw(parts), "c", Warnings())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "input_text", "text": "a"}, Text("a")),
        ({"type": "output_text", "text": "a", "annotations": [], "logprobs": []}, Text("a")),
        ({"type": "text", "text": ""}, Text("")),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        ({"type": "input_image", "image_url": "https://x/y.png"}, Image(url="https://x/y.png")),
        (
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low", "file_id": None},
            Image(media_type="image/png", data="AAAA", detail="low"),
        ),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            File(name="a.pdf", media_type="application/pdf", data="AAAA"),
        ),
        ({"type": "input_file", "file_data": "AAAA"}, File(data="AAAA")),
        ({"type": "input_file", "file_url": "https://x/y.pdf"}, File(url="https://x/y.pdf")),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, Audio("wav", "AAAA")),
    ],
)
def test_every_part_has_its_canonical_form(given: dict[str, Any], expected: ContentPart) -> None:
    assert decode(given) == (expected,)


def test_a_string_is_one_text() -> None:
    assert decode_content(raw("é"), "c", Warnings()) == (Text("é"),)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"type": "input_video"}, "c[0].type"),
        ({"text": "a"}, "c[0].type"),
        ({"type": "input_text"}, "c[0].text"),
        ({"type": "input_text", "text": 3}, "c[0].text"),
        ({"type": "refusal"}, "c[0].refusal"),
        ({"type": "input_image"}, "c[0].image_url"),
        ({"type": "input_image", "image_url": "ftp://x"}, "c[0].image_url"),
        ({"type": "input_image", "image_url": "data:image/png;base64,?"}, "c[0].image_url"),
        ({"type": "input_file", "file_data": "?"}, "c[0].file_data"),
        ({"type": "input_file", "file_data": "data:nothing"}, "c[0].file_data"),
        ({"type": "input_file", "file_url": "file:///etc/passwd"}, "c[0].file_url"),
        ({"type": "input_image", "file_id": "file-1"}, "c[0].file_id"),
        ({"type": "input_file", "file_id": "file-1"}, "c[0].file_id"),
        ({"type": "input_file"}, "c[0].file_data"),
        ({"type": "input_audio"}, "c[0].input_audio"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_place(given: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode(given)
    assert caught.value.param == param


def test_what_has_no_meaning_here_is_warned_of() -> None:
    warnings = Warnings()
    part = {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}, "other": None}
    decode_content(raw([part, part]), "c", warnings)
    assert warnings.said() == ("prompt_cache_breakpoint of input_text is ignored: no engine knows it",)


def test_texts_are_joined_by_blank_lines() -> None:
    parts = [{"type": "summary_text", "text": "a"}, {"type": "reasoning_text", "text": "b"}]
    assert decode_texts(raw(parts), "c", Warnings()) == "a\n\nb"
