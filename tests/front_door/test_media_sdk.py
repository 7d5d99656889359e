"""Audio and images with OpenAI's own SDK: what it sends reaches the engine, and what the engine makes reaches it."""

import base64
import json

import openai
import pytest

from bench.backends.vllm_media import make_noise
from mrproxy.dialects.forms import decode_form
from mrproxy.wire.multipart import parse_boundary, scan_form
from tests.fakes.engine import LAST_CHUNK, chunk, json_answer, sse_head
from tests.front_door.conftest import RESTRICTED_KEY, House
from tests.front_door.gateway import Gateway

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

LARGE = 8 << 20
SOUND = b"RIFF" + bytes(range(256)) * 4000
SPEECH = {"model": "mock-8b", "voice": "alloy", "input": "A talk."}


def form_of(house: House) -> dict[str, bytes]:
    """The fields of the last form that the scripted engine got."""
    asked = house.scripted.asked[-1]
    boundary = parse_boundary(asked.headers["content-type"].encode())
    assert boundary is not None
    return {field.name: asked.body[field.start : field.end] for field in scan_form(asked.body, boundary)}


# Speech


@pytest.mark.parametrize("size", [0, 1000, 70_000, LARGE])
def test_speech_of_any_length_arrives_as_it_was_made(gateway: Gateway, openai_client: openai.OpenAI, size: int):
    raw = openai_client.audio.speech.with_raw_response.create(**SPEECH, extra_body={"mock_bytes": size})
    assert raw.headers["content-type"] == "audio/wav"
    assert raw.content == make_noise("A talk.", size)
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.status, record.operation, record.lane) == (200, "speech", "straight")
    assert (record.usage_state, record.completion_tokens) == ("estimated", None)
    assert size < record.bytes_out < size + 1000


def test_speech_is_read_while_it_comes(openai_client: openai.OpenAI):
    asked = openai_client.audio.speech.with_streaming_response
    with asked.create(**SPEECH, response_format="mp3", extra_body={"mock_bytes": LARGE}) as answer:
        assert b"".join(answer.iter_bytes(100_000)) == make_noise("A talk.", LARGE)


def test_speech_that_nobody_wants_any_more_is_not_fetched(gateway: Gateway, openai_client: openai.OpenAI):
    asked = openai_client.audio.speech.with_streaming_response
    with asked.create(**SPEECH, extra_body={"mock_bytes": 64 << 20}) as answer:
        next(answer.iter_bytes(1000))
        request_id = answer.headers["x-request-id"]
    record = gateway.record_of(request_id)
    assert record.code == "client_departed"
    assert record.bytes_out < 64 << 20


def test_speech_as_events_passes_byte_for_byte(house: House, gateway: Gateway, openai_client: openai.OpenAI):
    usage = {"input_tokens": 3, "output_tokens": 40, "total_tokens": 43}
    events = [{"type": "speech.audio.delta", "audio": "QUJD"}, {"type": "speech.audio.done", "usage": usage}]
    payload = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    house.scripted.play(sse_head(), chunk(payload[:50]), chunk(payload[50:]), LAST_CHUNK)
    raw = openai_client.audio.speech.with_raw_response.create(**SPEECH | {"model": "scripted"}, stream_format="sse")
    assert raw.content == payload
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.stream, record.usage_state, record.prompt_tokens, record.completion_tokens) == (True, "exact", 3, 40)


# Images


@pytest.mark.parametrize("size", [1000, LARGE])
def test_images_of_any_size_arrive_and_are_counted(gateway: Gateway, openai_client: openai.OpenAI, size: int):
    raw = openai_client.images.with_raw_response.generate(
        model="mock-8b", prompt="a dog", n=2, extra_body={"mock_bytes": size}
    )
    answer = raw.parse()
    images = [base64.b64decode(each.b64_json) for each in answer.data]
    assert images == [make_noise("0 a dog", size), make_noise("1 a dog", size)]
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.operation, record.usage_state) == ("images", "exact")
    assert (record.prompt_tokens, record.completion_tokens) == (answer.usage.input_tokens, answer.usage.output_tokens)


def test_an_image_to_be_edited_reaches_the_engine(house: House, openai_client: openai.OpenAI):
    house.scripted.play(json_answer({"created": 1, "data": [{"b64_json": "QUJD"}]}))
    image = ("dog.png", SOUND, "image/png")
    answer = openai_client.images.edit(model="scripted", prompt="a cat", image=[image, image])
    assert answer.data[0].b64_json == "QUJD"
    fields = form_of(house)
    assert (fields["model"], fields["prompt"], fields["image[]"]) == (b"scripted", b"a cat", SOUND)


# Transcriptions


def test_a_sound_is_transcribed(house: House, gateway: Gateway, openai_client: openai.OpenAI):
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 2, "total_tokens": 16}
    house.scripted.play(json_answer({"text": "a talk", "usage": usage}))
    raw = openai_client.audio.transcriptions.with_raw_response.create(
        model="scripted", file=("talk.wav", SOUND), timestamp_granularities=["word", "segment"], temperature=0.5
    )
    assert raw.parse().text == "a talk"
    fields = form_of(house)
    assert (fields["model"], fields["file"], fields["temperature"]) == (b"scripted", SOUND, b"0.5")
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.operation, record.usage_state, record.prompt_tokens, record.completion_tokens) == (
        "transcriptions",
        "exact",
        14,
        2,
    )


def test_a_transcription_streams(house: House, openai_client: openai.OpenAI):
    events = [
        {"type": "transcript.text.delta", "delta": "a talk"},
        {"type": "transcript.text.done", "text": "a talk"},
    ]
    house.scripted.play(
        sse_head(), *(chunk(b"data: %b\n\n" % json.dumps(event).encode()) for event in events), LAST_CHUNK
    )
    stream = openai_client.audio.transcriptions.create(model="scripted", file=("talk.wav", SOUND), stream=True)
    assert [event.type for event in stream] == [event["type"] for event in events]
    asked = house.scripted.asked[-1]
    boundary = parse_boundary(asked.headers["content-type"].encode())
    assert boundary is not None
    assert decode_form(asked.body, boundary).streams


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # says the SDK of translations, since 3
def test_a_sound_is_translated_into_text_that_is_no_json(house: House, openai_client: openai.OpenAI):
    text = b"A talk.\n"
    house.scripted.play(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(text) + text)
    answer = openai_client.audio.translations.create(model="scripted", file=("x.wav", SOUND), response_format="text")
    assert answer == "A talk.\n"
    assert house.scripted.asked[-1].target == "/v1/audio/translations"


# The rest, and refusals


def test_moderations_pass(house: House, openai_client: openai.OpenAI):
    house.scripted.play(json_answer({"id": "modr-1", "model": "scripted", "results": []}))
    assert openai_client.moderations.create(model="scripted", input="a talk").id == "modr-1"


def test_a_model_that_only_ollama_has_speaks_not(openai_client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError, match=r"llama3\.2") as caught:
        openai_client.audio.speech.create(**SPEECH | {"model": "llama3.2"})
    assert caught.value.param == "model"


def test_a_key_may_use_its_models_only_in_forms_too(gateway: Gateway):
    with gateway.open_openai(RESTRICTED_KEY) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.audio.transcriptions.create(model="scripted", file=("talk.wav", SOUND))
