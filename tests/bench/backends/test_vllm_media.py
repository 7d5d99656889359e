"""Speech and images of the mock engine: noise of a known size, the same for the same text."""

import base64
import json

import pytest

from bench.backends.build import id_source
from bench.backends.settings import EngineSettings
from bench.backends.vllm import Vllm
from bench.backends.vllm_media import ImageRequest, SpeechRequest, draw, make_noise, speak
from bench.backends.work import Counts, Reply
from bench.http1 import Request


def ask(path: bytes, **fields: object) -> Reply:
    mock = Vllm(EngineSettings("vllm", ("mock-8b",)), id_source(1), lambda: Counts(0, 0, 0, 0))
    reply = mock.answer(Request(b"POST", path, b"", json.dumps({"model": "mock-8b"} | fields).encode()), 1_700_000_000)
    assert isinstance(reply, Reply)
    return reply


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_noise_has_the_size_that_is_asked_for_and_depends_on_the_text_alone(size: int) -> None:
    noise = make_noise("a text", size)
    assert len(noise) == size
    assert noise == make_noise("a text", size)
    assert not size or noise != make_noise("another", size) or size == 1


@pytest.mark.parametrize(("kind", "expected"), [(None, "audio/wav"), ("mp3", "audio/mpeg"), ("wav", "audio/wav")])
def test_speech_is_as_long_as_its_text_or_as_is_said(kind: str | None, expected: str) -> None:
    assert speak(SpeechRequest("m", "ab", kind)) == (make_noise("ab", 2000), expected)
    assert speak(SpeechRequest("m", "ab", kind, 7)) == (make_noise("ab", 7), expected)


def test_images_differ_and_usage_stands_at_the_end() -> None:
    document = draw(ImageRequest("m", "a dog", n=2, mock_bytes=100), 1_700_000_000)
    images = [base64.b64decode(each["b64_json"]) for each in document["data"]]
    assert [len(image) for image in images] == [100, 100]
    assert images[0] != images[1]
    assert list(document)[-1] == "usage"
    usage = document["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_both_are_answered_as_documents_with_a_length() -> None:
    speech = ask(b"/v1/audio/speech", input="ab", voice="alloy", response_format="mp3", mock_bytes=10).data
    assert b"content-type: audio/mpeg\r\n" in speech
    assert b"content-length: 10\r\n" in speech
    assert speech.endswith(b"\r\n\r\n" + make_noise("ab", 10))
    image = ask(b"/v1/images/generations", prompt="a dog").data
    assert json.loads(image.partition(b"\r\n\r\n")[2])["created"] == 1_700_000_000


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (b"/v1/audio/speech", {"input": "a", "model": "other"}, 404),
        (b"/v1/audio/speech", {}, 400),
        (b"/v1/audio/speech", {"input": "a", "mock_bytes": 1 << 40}, 400),
        (b"/v1/images/generations", {"prompt": "a", "n": 0}, 400),
        (b"/v1/images/generations", {"prompt": "a", "model": "other"}, 404),
    ],
)
def test_what_is_wrong_is_refused(path: bytes, fields: dict[str, object], status: int) -> None:
    assert ask(path, **fields).status == status
