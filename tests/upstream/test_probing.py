"""Probes read what real servers send, and survive whatever else they send."""

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.upstream.probing import (
    MAX_MODELS,
    PROBE_PATHS,
    Answer,
    ProbeError,
    ProbeResult,
    decode_answers,
    detect_kind,
)

# Written after the servers' documentation; llama-cpp-python's after the source of 0.3.36.
VLLM = {
    "/health": Answer(200, b""),
    "/v1/models": Answer(
        200,
        b'{"object":"list","data":[{"id":"Qwen/Qwen3-8B","object":"model","created":1760000000,"owned_by":"vllm",'
        b'"root":"Qwen/Qwen3-8B","parent":null,"max_model_len":40960,"permission":[{"id":"modelperm-1",'
        b'"object":"model_permission","created":1760000000,"allow_view":true,"organization":"*"}]},'
        b'{"id":"sql-lora","object":"model","created":1760000000,"owned_by":"vllm","root":"/lora","parent":'
        b'"Qwen/Qwen3-8B","max_model_len":null,"permission":[]}]}',
    ),
}
LLAMACPP = {
    "/health": Answer(200, b'{"status":"ok"}'),
    "/v1/models": Answer(
        200,
        b'{"models":[{"name":"tiny.gguf","model":"tiny.gguf"}],"object":"list","data":[{"id":"tiny.gguf","object":'
        b'"model","created":1760000001,"owned_by":"llamacpp","meta":{"vocab_type":2,"n_vocab":32000,"n_ctx_train":'
        b'131072,"n_embd":2048,"n_params":1100048384,"size":667079680}}]}',
    ),
    "/props": Answer(
        200,
        b'{"default_generation_settings":{"id":0,"id_task":-1,"n_ctx":4096,"params":{}},"total_slots":4,'
        b'"model_path":"tiny.gguf","chat_template":"{{ x }}","build_info":"b6700-abcdef0"}',
    ),
}
LOADING = {
    "/health": Answer(503, b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'),
    "/v1/models": Answer(503, b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'),
}
LLAMA_CPP_PYTHON = {
    "/health": Answer(404, b'{"detail":"Not Found"}'),
    "/v1/models": Answer(
        200, b'{"object":"list","data":[{"id":"random","object":"model","owned_by":"me","permissions":[]}]}'
    ),
    "/props": Answer(404, b'{"detail":"Not Found"}'),
}
OLLAMA = {
    "/api/version": Answer(200, b'{"version":"0.12.3"}'),
    "/api/tags": Answer(
        200,
        b'{"models":[{"name":"llama3.2:3b","model":"llama3.2:3b","modified_at":"2025-10-01T10:00:00.123456789+02:00",'
        b'"size":2019393189,"digest":"a80c4f17acd5","details":{"parent_model":"","format":"gguf","family":"llama",'
        b'"families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"}},{"name":"gemma3:4b",'
        b'"model":"gemma3:4b","modified_at":"2025-10-02T10:00:00Z","size":1,"digest":"b","details":{}}]}',
    ),
    "/api/ps": Answer(
        200,
        b'{"models":[{"name":"gemma3:4b","model":"gemma3:4b","size":6591830464,"digest":"b","details":{},'
        b'"expires_at":"2025-10-17T16:47:07.93355-07:00","size_vram":5333539264,"context_length":4096}]}',
    ),
    "/v1/models": Answer(
        200, b'{"object":"list","data":[{"id":"gemma3:4b","object":"model","created":1,"owned_by":"library"}]}'
    ),
}
CLOUD = {
    "/v1/models": Answer(
        200, b'{"object":"list","data":[{"id":"gpt-5","object":"model","created":1754425777,"owned_by":"system"}]}'
    )
}
SERVERS = {"vllm": VLLM, "llamacpp": LLAMACPP, "ollama": OLLAMA, "openai": CLOUD}


def names(result: ProbeResult) -> list[str]:
    return [model.name for model in result.models]


def test_vllm_has_its_models_resident_with_their_context_length() -> None:
    result = decode_answers("vllm", VLLM)
    assert names(result) == ["Qwen/Qwen3-8B", "sql-lora"]
    assert result.resident == {"Qwen/Qwen3-8B", "sql-lora"}
    assert [model.context_tokens for model in result.models] == [40960, None]
    assert result.models[0].created_utc == 1_760_000_000.0
    assert not result.loading


def test_a_vllm_whose_engine_died_is_an_error() -> None:
    with pytest.raises(ProbeError, match="/health answered 503") as caught:
        decode_answers("vllm", {**VLLM, "/health": Answer(503, b"")})
    assert (caught.value.path, caught.value.status) == ("/health", 503)


def test_llamacpp_tells_the_context_of_a_slot_and_its_build() -> None:
    result = decode_answers("llamacpp", LLAMACPP)
    assert (result.models[0].name, result.models[0].context_tokens) == ("tiny.gguf", 4096)
    assert result.version == "b6700-abcdef0"
    without_props = {path: LLAMACPP[path] for path in ("/health", "/v1/models")}
    assert decode_answers("llamacpp", without_props).models[0].context_tokens == 131_072


def test_a_loading_llamacpp_is_alive_and_has_nothing_yet() -> None:
    assert decode_answers("llamacpp", LOADING) == ProbeResult("llamacpp", (), frozenset(), loading=True)


def test_llama_cpp_python_has_no_health_page_and_is_healthy() -> None:
    assert names(decode_answers("llamacpp", LLAMA_CPP_PYTHON)) == ["random"]


def test_ollama_tells_what_it_has_and_what_is_in_memory() -> None:
    result = decode_answers("ollama", OLLAMA)
    assert names(result) == ["llama3.2:3b", "gemma3:4b"]
    assert result.resident == {"gemma3:4b"}
    assert result.version == "0.12.3"
    assert result.models[0].created_utc == pytest.approx(1_759_305_600.123456)
    (running,) = result.running
    assert (running.size_vram_bytes, running.context_tokens) == (5_333_539_264, 4096)
    assert running.expires_utc == pytest.approx(1_760_744_827.93355)


def test_list_entries_are_kept_as_the_server_sent_them() -> None:
    result = decode_answers("ollama", OLLAMA)
    merged = msgspec.json.encode({"models": [model.raw for model in result.models]})
    assert merged == OLLAMA["/api/tags"].body


@pytest.mark.parametrize("models", [b'{"models":null}', b'{"models":[]}'])
def test_an_ollama_without_models_is_healthy(models: bytes) -> None:
    answers = {"/api/version": OLLAMA["/api/version"], "/api/tags": Answer(200, models), "/api/ps": Answer(200, models)}
    assert decode_answers("ollama", answers) == ProbeResult("ollama", (), frozenset(), version="0.12.3")
    assert detect_kind(answers) == "ollama"


@pytest.mark.parametrize("page", [None, Answer(404, b"404 page not found"), Answer(200, b"junk"), Answer(200, b"{}")])
def test_an_ollama_without_a_readable_ps_has_nothing_resident(page: Answer | None) -> None:
    answers = {path: OLLAMA[path] for path in ("/api/version", "/api/tags")}
    if page is not None:
        answers["/api/ps"] = page
    result = decode_answers("ollama", answers)
    assert len(result.models) == 2
    assert result.resident == frozenset()


def test_a_cloud_that_sends_a_bare_list_is_understood() -> None:
    answers = {"/v1/models": Answer(200, b'[{"id":"a","created":0,"context_length":8192},{"id":"b"},{"id":"a"}]')}
    result = decode_answers("openai", answers)
    assert names(result) == ["a", "b"]
    assert result.models[0].context_tokens == 8192


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "/v1/models got no answer"),
        (Answer(401, b"{}"), "/v1/models answered 401"),
        (Answer(200, b"<html>"), "no list of models"),
        (Answer(200, b'{"data":{}}'), "no list of models"),
        (Answer(200, b'{"object":"list"}'), "no list of models"),
        (Answer(200, b""), "no list of models"),
        (Answer(200, b"\xff\xfe"), "no list of models"),
        (Answer(200, b'{"data":null}'), "no list of models"),
    ],
)
def test_without_a_model_list_there_is_no_result(answer: Answer | None, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        decode_answers("openai", {} if answer is None else {"/v1/models": answer})


def test_entries_without_a_usable_name_are_skipped_and_odd_fields_are_unknown() -> None:
    entries: list[Any] = [
        None, 7, "text", [], {}, {"id": None}, {"id": ""}, {"id": 5}, {"id": "ok", "created": "x", "max_model_len": -1}
    ]  # fmt: skip
    result = decode_answers("vllm", {"/v1/models": Answer(200, json.dumps({"data": entries}).encode())})
    assert names(result) == ["ok"]
    assert result.models[0].context_tokens is None
    assert result.models[0].created_utc is None


@pytest.mark.parametrize("modified_at", ["0001-01-01T00:00:00Z", "2025-10-01T10:00:00", "yesterday", 5, None])
def test_times_that_are_none_are_unknown(modified_at: object) -> None:
    body = json.dumps({"models": [{"name": "m", "modified_at": modified_at}]}).encode()
    assert decode_answers("ollama", {"/api/tags": Answer(200, body)}).models[0].created_utc is None


@pytest.mark.parametrize("kind", SERVERS)
def test_the_kind_of_each_server_is_found(kind: str) -> None:
    assert detect_kind(SERVERS[kind]) == kind
    assert decode_answers("auto", SERVERS[kind]) == decode_answers(kind, SERVERS[kind])


def test_a_loading_llamacpp_is_found() -> None:
    assert decode_answers("auto", LOADING).loading
    assert detect_kind({path: LLAMACPP[path] for path in ("/health", "/v1/models")}) == "llamacpp"


def test_an_unknown_kind_and_an_unknown_server_are_probe_errors() -> None:
    with pytest.raises(ProbeError, match="unknown kind"):
        decode_answers("tgi", VLLM)
    with pytest.raises(ProbeError, match="/v1/models got no answer"):
        decode_answers("auto", {})


def test_a_deeply_nested_answer_is_an_error_and_no_crash() -> None:
    deep = b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(ProbeError):
        decode_answers("openai", {"/v1/models": Answer(200, deep)})


@pytest.mark.parametrize("kind", ["openai", "auto", "vllm", "llamacpp", "anthropic"])
@pytest.mark.parametrize("extra", [b'{"id":"%x"}', b"{}", b"1"], ids=["models", "empty", "numbers"])
def test_a_list_that_is_too_long_is_an_error(kind: str, extra: bytes) -> None:
    def listed(entries: int) -> dict[str, Answer]:
        rest = b"".join(b"," + (extra % number if b"%" in extra else extra) for number in range(entries - 1))
        return {"/v1/models": Answer(200, b'{"data":[{"id":"m"}%b]}' % rest)}

    assert "m" in names(decode_answers(kind, listed(MAX_MODELS)))
    with pytest.raises(ProbeError, match="/v1/models: the list has more than 10,000 models"):
        decode_answers(kind, listed(MAX_MODELS + 1))


def test_a_list_of_ollama_that_is_too_long_is_an_error_and_one_of_those_in_memory_is_none() -> None:
    body = b'{"models":[%b{}]}' % (b"{}," * MAX_MODELS)
    with pytest.raises(ProbeError, match="/api/tags: the list has more than 10,000 models"):
        decode_answers("ollama", {**OLLAMA, "/api/tags": Answer(200, body)})
    assert decode_answers("ollama", {**OLLAMA, "/api/ps": Answer(200, body)}).running == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[%b1]}' % (b"1," * (4 << 20)),
        b'{"data":[%b{}]}' % (b"{}," * (8 << 18)),
        b'{"data":[%b]}' % b",".join(b'{"id":"%x"}' % number for number in range(500_000)),
        b'{"data":[{%b,"id":"m"}]}' % b",".join(b'"%x":1' % number for number in range(700_000)),
        b'{%b,"data":[]}' % b",".join(b'"%x":1' % number for number in range(700_000)),
        b'{"data":[{"id":"m","meta":{%b}}]}' % b",".join(b'"%x":1' % number for number in range(700_000)),
    ],
    ids=["numbers", "empty", "models", "fields", "names", "meta"],
)
def test_of_no_list_much_is_made(body: bytes) -> None:
    """Each is most of 8 MiB; of some 130 to 260 MiB of objects were made, in seconds."""
    tracemalloc.start()
    try:
        with suppress(ProbeError):
            decode_answers("auto", {"/v1/models": Answer(200, body)})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["models", "data", "id", "name", "version", "meta", "created", "size_vram", "error"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
bodies = (
    st.binary(max_size=60)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([answer.body for server in SERVERS.values() for answer in server.values()]).flatmap(
        lambda body: st.integers(0, len(body)).map(lambda cut: body[:cut])
    )
)
answers_to_anything = st.dictionaries(
    st.sampled_from(PROBE_PATHS["auto"]), st.builds(Answer, st.sampled_from([200, 200, 404, 500, 503]), bodies)
)


@given(kind=st.sampled_from(list(PROBE_PATHS)), answers=answers_to_anything)
def test_junk_gives_a_result_or_a_probe_error_and_nothing_else(kind: str, answers: dict[str, Answer]) -> None:
    try:
        result = decode_answers(kind, answers)
    except ProbeError:
        return
    assert result.kind in SERVERS
    assert all(model.name for model in result.models)
    assert len(set(names(result))) == len(result.models)
