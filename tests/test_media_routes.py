"""Audio, images, rerank, score, moderations: they pass byte for byte to backends that may have them, or not at all."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mrproxy.canonical.request import FORMS, Operation
from mrproxy.config import Backend, Key
from tests.fakes.behaviours import LAST_CHUNK, STREAM_HEAD, answer, answer_status, chunk, cut_into, head, sized
from tests.fakes.caller import KEY, Answer
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.loop_engine import run_engine
from tests.wire.test_multipart import AUDIO, BOUNDARY, form, part

pytestmark = pytest.mark.slow

PATHS = {
    "/v1/audio/speech": Operation.SPEECH,
    "/v1/images/generations": Operation.IMAGES,
    "/v1/rerank": Operation.RERANK,
    "/v1/score": Operation.SCORE,
    "/v1/moderations": Operation.MODERATIONS,
    "/v1/audio/transcriptions": Operation.TRANSCRIPTIONS,
    "/v1/audio/translations": Operation.TRANSLATIONS,
    "/v1/images/edits": Operation.IMAGE_EDITS,
}
FORM_TYPE = f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}"
JSON_TYPE = "Content-Type: application/json"
TEXT = b'{"text":"a talk"}'


def body_of(path: str, model: str = "m") -> bytes:
    if PATHS[path] in FORMS:
        return form(AUDIO, part(b"model", model.encode()), part(b"prompt", b"A talk."))
    return json.dumps({"input": "A talk.", "model": model, "voice": "alloy"}).encode()


async def ask(gateway: Gateway, path: str, body: bytes, *types: str, key: str = KEY) -> Answer:
    types = types or (FORM_TYPE if PATHS[path] in FORMS else JSON_TYPE,)
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {key}", *types, f"Content-Length: {len(body)}"]
    caller = await gateway.connect()
    await caller.send("\r\n".join([*lines, "", ""]).encode() + body)
    got = await caller.read_answer()
    await caller.leave()
    return got


@pytest.mark.parametrize("path", PATHS)
async def test_requests_and_answers_pass_byte_for_byte(tmp_path: Path, path: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        audio = bytes(range(256)) * 1000
        engine.behaviour = answer(
            head(f"Content-Length: {len(audio)}").replace(b"application/json", b"audio/mpeg") + audio
        )
        got = await ask(gateway, path, body_of(path))
        assert (got.status, got.headers["content-type"], got.payload == audio) == (200, "audio/mpeg", True)
        assert got.headers["x-mrproxy-lane"] == "straight"
        asked = engine.turns[0].request
        assert (asked.path, asked.body) == (path, body_of(path))
        assert asked.headers["content-type"] == (FORM_TYPE if PATHS[path] in FORMS else JSON_TYPE).split(": ")[1]
        record = await gateway.last_record()
        assert (record.status, record.operation, record.dialect, record.lane) == (
            200,
            PATHS[path],
            "openai",
            "straight",
        )
        assert (record.usage_state, record.completion_tokens) == ("estimated", None)  # not by the size of the audio
        assert record.bytes_out == len(got.raw)


@pytest.mark.parametrize("path", PATHS)
async def test_an_alias_is_put_in_and_nothing_else_is_changed(tmp_path: Path, path: str) -> None:
    async with run_engine() as engine:
        aliased = Backend(kind="vllm", url=engine.url, name="aliased", aliases={"public": "m"})
        async with run_gateway(tmp_path, backends=(aliased,)) as gateway:
            engine.behaviour = answer(sized(TEXT))
            assert (await ask(gateway, path, body_of(path, "public"))).payload == TEXT
            sent = engine.turns[0].request
            if PATHS[path] in FORMS:
                assert sent.body == body_of(path)
            else:
                assert sent.json == json.loads(body_of(path))
            assert int(sent.headers["content-length"]) == len(sent.body)
            assert (await gateway.last_record()).model == "public"


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (b'{"prompt_tokens":5,"total_tokens":5}', ("exact", 5, None)),
        (b'{"input_tokens":5,"output_tokens":4,"input_tokens_details":{"text_tokens":1}}', ("exact", 5, 4)),
        (b'{"type":"duration","seconds":3}', ("estimated", 4, None)),
    ],
)
@pytest.mark.parametrize("size", [0, 200_000])
async def test_usage_is_charged_where_an_answer_has_one_and_teaches_nothing(
    tmp_path: Path, usage: bytes, counted: Sequence[object], size: int
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(sized(b'{"data":[{"b64_json":"%b"}],"usage":%b}' % (b"A" * size, usage)))
        ratio = gateway.stages.costs.bytes_per_token("m")
        assert (await ask(gateway, "/v1/images/generations", b'{"model":"m"   }')).status == 200
        record = await gateway.last_record()
        assert (record.usage_state, record.prompt_tokens, record.completion_tokens) == counted
        assert gateway.stages.costs.bytes_per_token("m") == ratio


async def test_a_form_costs_its_texts_and_not_its_file(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(sized(TEXT))
        file = part(b"file", b"x" * 1_000_000, more=b'; filename="a.wav"')
        await ask(gateway, "/v1/audio/transcriptions", form(part(b"model", b"m"), file, part(b"prompt", b"p" * 399)))
        record = await gateway.last_record()
        assert (record.usage_state, record.prompt_tokens) == ("estimated", 100)


async def test_a_file_that_the_engine_takes_slowly_arrives_whole(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(sized(TEXT))
        file = part(b"file", bytes(range(256)) * 60_000, more=b'; filename="a.wav"')
        body = form(part(b"model", b"m"), file)
        assert (await ask(gateway, "/v1/audio/transcriptions", body)).payload == TEXT
        assert engine.turns[0].request.body == body


EVENTS = (
    b'data: {"type":"transcript.text.delta","delta":"a "}\n\n'
    b'data: {"type":"transcript.text.delta","delta":"talk"}\n\n'
    b'data: {"type":"transcript.text.done","text":"a talk","usage":{"type":"tokens",'
    b'"input_tokens":14,"output_tokens":3}}\n\n'
)


@pytest.mark.parametrize("step", [7, 64, 1000])
async def test_streams_pass_byte_for_byte_and_their_usage_is_read(tmp_path: Path, step: int) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(
            STREAM_HEAD, *map(chunk, cut_into(EVENTS, range(step, len(EVENTS), step))), LAST_CHUNK
        )
        asked = {
            "/v1/audio/transcriptions": form(AUDIO, part(b"model", b"m"), part(b"stream", b"true")),
            "/v1/audio/speech": b'{"model":"m","input":"hi","voice":"a","stream_format":"sse"}',
            "/v1/images/generations": b'{"model":"m","prompt":"hi","stream":true}',
        }
        for count, (path, body) in enumerate(asked.items(), 1):
            got = await ask(gateway, path, body)
            assert (got.payload, got.is_whole) == (EVENTS, True)
            assert engine.turns[-1].request.body == body
            record = await gateway.last_record(count)
            assert (record.stream, record.usage_state, record.prompt_tokens, record.completion_tokens) == (
                True,
                "exact",
                14,
                3,
            )


async def test_audio_in_pieces_passes_as_it_comes(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        pieces = [bytes([number]) * 50_000 for number in range(10)]
        engine.behaviour = answer(STREAM_HEAD, *map(chunk, pieces), LAST_CHUNK)
        got = await ask(gateway, "/v1/audio/speech", body_of("/v1/audio/speech"))
        assert (got.payload, got.is_whole) == (b"".join(pieces), True)
        assert (await gateway.last_record()).usage_state == "estimated"


# Refusals


@pytest.mark.parametrize("kind", ["ollama", "anthropic"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_model_on_other_engines_only_is_a_400(tmp_path: Path, kind: str, path: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        got = await ask(gateway, path, body_of(path))
        assert got.status == 400
        error = got.json["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", "model")
        assert PATHS[path].value in error["message"]
        assert engine.turns == []


async def test_of_several_backends_only_those_are_asked_that_may_have_it(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a", "ollama") as ollama,
        run_engine("engine-b", "vllm") as vllm,
        run_gateway(tmp_path, ollama, vllm) as gateway,
    ):
        vllm.behaviour = answer(sized(TEXT))
        for _ in range(4):
            assert (await ask(gateway, "/v1/rerank", body_of("/v1/rerank"))).status == 200
        assert (len(ollama.turns), len(vllm.turns)) == (0, 4)


async def test_what_an_engine_has_not_it_refuses_in_its_own_words(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer_status(404)
        got = await ask(gateway, "/v1/audio/speech", body_of("/v1/audio/speech"))
        assert (got.status, got.json["error"]["message"]) == (404, "no")


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_model_is_a_404_and_a_forbidden_one_a_403(tmp_path: Path, path: str) -> None:
    some = Key(name="some", key="key-for-some", user="ada", models=("other",))
    async with run_engine() as engine, run_gateway(tmp_path, engine, keys=(some,)) as gateway:
        assert (await ask(gateway, path, body_of(path, "nobody"))).json["error"]["code"] == "model_not_found"
        got = await ask(gateway, path, body_of(path), key="key-for-some")
        assert (got.status, got.json["error"]["code"]) == (403, "model_forbidden")


async def test_a_restricted_key_may_use_its_model(tmp_path: Path) -> None:
    some = Key(name="some", key="key-for-some", user="ada", models=("m",))
    async with run_engine() as engine, run_gateway(tmp_path, engine, keys=(some,)) as gateway:
        engine.behaviour = answer(sized(TEXT))
        for path in PATHS:
            assert (await ask(gateway, path, body_of(path), key="key-for-some")).status == 200


@pytest.mark.parametrize(
    ("path", "types", "status"),
    [
        ("/v1/audio/transcriptions", (JSON_TYPE,), 415),
        ("/v1/audio/transcriptions", ("X-Nothing: 1",), 415),
        ("/v1/audio/transcriptions", ("Content-Type: multipart/form-data",), 415),
        ("/v1/audio/transcriptions", (FORM_TYPE, FORM_TYPE), 415),
        ("/v1/audio/transcriptions", (FORM_TYPE + "x",), 400),
        ("/v1/audio/speech", (FORM_TYPE,), 415),
        ("/v1/chat/completions", (FORM_TYPE,), 415),
    ],
)
async def test_a_body_of_the_wrong_kind_is_refused(
    tmp_path: Path, path: str, types: tuple[str, ...], status: int
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        got = await ask(gateway, path, body_of("/v1/audio/transcriptions"), *types)
        assert (got.status, got.json["error"]["type"]) == (status, "invalid_request_error")
        assert engine.turns == []


async def test_a_body_that_is_too_large_is_a_413(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_body_bytes=1000) as gateway:
        file = part(b"file", b"x" * 1000, more=b'; filename="a.wav"')
        got = await ask(gateway, "/v1/audio/transcriptions", form(part(b"model", b"m"), file))
        assert (got.status, got.json["error"]["code"]) == (413, "body_too_large")
