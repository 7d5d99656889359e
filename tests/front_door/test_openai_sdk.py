"""OpenAI's own SDK for Python through the front door: what it sends passes, what it gets back it understands."""

import json
import time
from zlib import crc32

import openai
import pytest
import trio

from tests.fakes.engine import LAST_CHUNK, chunk, json_answer, sse_head
from tests.front_door.conftest import BUDGET_KEY, EXPIRED_KEY, ONCE, RESTRICTED_KEY, House
from tests.front_door.gateway import MESSAGES, Gateway, mock_control

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

# The SDK leaves its event generators to the garbage collector at the end of a stream.
ABANDONED = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")
CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 5}


# Answers


def test_a_chat_is_answered_and_accounted_exactly(gateway: Gateway, openai_client: openai.OpenAI):
    raw = openai_client.chat.completions.with_raw_response.create(**CHAT)
    answer = raw.parse()
    assert answer.choices[0].message.content.count("t") == 5
    assert answer.usage.completion_tokens == 5
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.status, record.usage_state, record.completion_tokens) == (200, "exact", 5)
    assert record.prompt_tokens == answer.usage.prompt_tokens
    assert (record.user, record.group, record.dialect, record.operation) == ("ada", "staff", "openai", "chat")


def test_a_chat_streams_each_token(gateway: Gateway, openai_client: openai.OpenAI):
    raw = openai_client.chat.completions.with_raw_response.create(**CHAT, stream=True)
    chunks = list(raw.parse())
    assert sum(bool(each.choices[0].delta.content) for each in chunks) == 5
    assert chunks[-1].choices[0].finish_reason == "length"
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.stream, record.usage_state, record.completion_tokens, record.code) == (True, "exact", 5, "")


@ABANDONED
async def test_the_async_sdk_streams_on_trio_as_well(gateway: Gateway):
    async with gateway.open_async_openai() as client:
        answer = await client.chat.completions.create(**CHAT)
        assert answer.usage.completion_tokens == 5
        stream = await client.chat.completions.create(**CHAT, stream=True)
        assert len([each async for each in stream if each.choices[0].delta.content]) == 5


@ABANDONED
async def test_twenty_async_streams_at_once_are_kept_apart(gateway: Gateway):
    lengths: dict[int, int] = {}

    async def count(client: openai.AsyncOpenAI, tokens: int) -> None:
        stream = await client.chat.completions.create(
            model="mock-8b", messages=MESSAGES, max_tokens=tokens, stream=True
        )
        lengths[tokens] = len([each async for each in stream if each.choices[0].delta.content])

    async with gateway.open_async_openai() as client:
        async with trio.open_nursery() as nursery:
            for tokens in range(1, 21):
                nursery.start_soon(count, client, tokens)
    assert lengths == {tokens: tokens for tokens in range(1, 21)}


def test_a_completion_is_answered(openai_client: openai.OpenAI):
    answer = openai_client.completions.create(model="mock-8b", prompt="one", max_tokens=4)
    assert answer.usage.completion_tokens == 4
    assert answer.object == "text_completion"


def test_a_completion_streams(openai_client: openai.OpenAI):
    stream = openai_client.completions.create(model="mock-8b", prompt="one", max_tokens=4, stream=True)
    assert len([each for each in stream if each.choices[0].text]) == 4


def test_embeddings_arrive_as_the_engine_sent_them(house: House, gateway: Gateway, openai_client: openai.OpenAI):
    raw = openai_client.embeddings.with_raw_response.create(model="mock-8b", input=["one", "two"])
    through = raw.parse()
    with openai.OpenAI(base_url=f"{house.vllm_url}/v1", api_key="none", http_client=no_environment()) as direct:
        engine = direct.embeddings.create(model="mock-8b", input=["one", "two"])
    assert [each.embedding for each in through.data] == [each.embedding for each in engine.data]
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.operation, record.usage_state, record.prompt_tokens) == (
        "embeddings",
        "exact",
        engine.usage.prompt_tokens,
    )


def no_environment() -> object:
    return openai.DefaultHttpxClient(trust_env=False)


def test_ollamas_models_are_reached_by_the_same_sdk(openai_client: openai.OpenAI):
    raw = openai_client.chat.completions.with_raw_response.create(
        model="llama3.2:latest", messages=MESSAGES, max_tokens=3, stream=True
    )
    assert len([each for each in raw.parse() if each.choices[0].delta.content]) == 3
    assert raw.headers["x-mrproxy-backend"] == "mock-ollama"


def test_an_ollama_model_needs_no_latest(openai_client: openai.OpenAI):
    answer = openai_client.chat.completions.create(model="llama3.2", messages=MESSAGES, max_tokens=3)
    assert answer.usage.completion_tokens == 3


# Models


def test_models_of_all_backends_are_listed_once(openai_client: openai.OpenAI):
    listed = [model.id for model in openai_client.models.list()]
    assert sorted(listed) == ["asleep", "llama3.2:latest", "mock-8b", "org/model-7b", "scripted"]


@pytest.mark.parametrize("model", ["mock-8b", "org/model-7b", "llama3.2:latest"])
def test_a_model_is_retrieved_by_its_id_with_slashes_and_colons(openai_client: openai.OpenAI, model: str):
    assert openai_client.models.retrieve(model).id == model


def test_a_model_id_with_a_slash_can_be_chatted_with(openai_client: openai.OpenAI):
    answer = openai_client.chat.completions.create(model="org/model-7b", messages=MESSAGES, max_tokens=2)
    assert answer.model == "org/model-7b"


def test_an_unknown_model_is_not_retrieved(openai_client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("no/such/model")


def test_a_restricted_key_sees_only_its_models(gateway: Gateway):
    with gateway.open_openai(RESTRICTED_KEY) as client:
        assert [model.id for model in client.models.list()] == ["mock-8b"]
        assert client.chat.completions.create(**CHAT).usage.completion_tokens == 5
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="org/model-7b", messages=MESSAGES)


# What passes untouched


def test_unknown_fields_and_headers_reach_the_engine_untouched(house: House, openai_client: openai.OpenAI):
    house.scripted.play(json_answer({"id": "x", "object": "chat.completion", "choices": [], "more": [1, None, "é"]}))
    answer = openai_client.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "Grüße 🙂 \u2028", "strange": {"deep": [1.5e300, -0.0]}}],
        extra_body={"guided_regex": "a|b", "nested": {"z": 1, "a": 2}, "top_k": 40},
        extra_headers={"X-Own-Header": "kept"},
    )
    asked = house.scripted.asked[-1]
    sent = json.loads(asked.body)
    assert (sent["guided_regex"], sent["top_k"]) == ("a|b", 40)
    assert list(sent["nested"]) == ["z", "a"]
    assert sent["messages"][0] == {"role": "user", "content": "Grüße 🙂 \u2028", "strange": {"deep": [1.5e300, -0.0]}}
    assert asked.headers["x-own-header"] == "kept"
    assert (
        "authorization" not in asked.headers
    )  # the caller's key is for the gateway, and none of the engine's business
    assert answer.model_extra["more"] == [1, None, "é"]


def test_a_body_that_needs_no_change_is_forwarded_byte_for_byte(house: House, gateway: Gateway):
    house.scripted.play(json_answer({"choices": []}))
    body = (
        b'{ "model" :"scripted",\n\t"messages":[{"role":"user","content":"\\u00e9 \\ud83d\\ude42"}], "n": 1.0, "n": 2 }'
    )
    with gateway.connect() as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-API-Key: mr_front-door-ada\r\n"
            b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert house.scripted.asked[-1].body == body


TOKEN = 'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
DONE = "data: [DONE]\n\n"
STREAM = {"model": "scripted", "messages": MESSAGES, "stream": True}


def play(house: House, payload: bytes, chunk_bytes: int) -> None:
    """The payload as a stream, in chunks that respect no event's borders."""
    pieces = [payload[start : start + chunk_bytes] for start in range(0, len(payload), chunk_bytes)]
    house.scripted.play(sse_head(), *map(chunk, pieces), LAST_CHUNK)


def received(client: openai.OpenAI, **asked: object) -> tuple[bytes, str]:
    """The bytes under the SDK's events, and the request's id."""
    with client.chat.completions.with_streaming_response.create(**asked) as answer:
        return b"".join(answer.iter_bytes()), answer.headers["x-request-id"]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 61, 100_000])
def test_a_stream_is_the_engines_bytes_without_the_usage_nobody_asked_for(
    house: House, gateway: Gateway, openai_client: openai.OpenAI, chunk_bytes: int
):
    before, after = TOKEN % "Grüße" + ": a comment\n\n" + TOKEN % "\\n\\n", DONE
    play(house, (before + USAGE + after).encode(), chunk_bytes)
    payload, request_id = received(openai_client, **STREAM)
    assert payload == (before + after).encode()
    assert json.loads(house.scripted.asked[-1].body)["stream_options"] == {"include_usage": True}
    record = gateway.record_of(request_id)
    assert (record.prompt_tokens, record.completion_tokens, record.usage_state) == (7, 2, "exact")


@pytest.mark.parametrize("chunk_bytes", [1, 61, 100_000])
def test_usage_that_was_asked_for_stays_in_the_stream(
    house: House, gateway: Gateway, openai_client: openai.OpenAI, chunk_bytes: int
):
    whole = (TOKEN % "one" + USAGE + DONE).encode()
    play(house, whole, chunk_bytes)
    payload, request_id = received(openai_client, **STREAM, stream_options={"include_usage": True})
    assert payload == whole
    assert gateway.record_of(request_id).completion_tokens == 2


def test_other_stream_options_survive_the_question_for_usage(house: House, openai_client: openai.OpenAI):
    play(house, (TOKEN % "one" + USAGE + DONE).encode(), 50)
    received(openai_client, **STREAM, stream_options={"include_usage": False, "continuous_usage_stats": True})
    options = json.loads(house.scripted.asked[-1].body)["stream_options"]
    assert options == {"include_usage": True, "continuous_usage_stats": True}


def test_the_sdk_sees_usage_only_if_it_asked(openai_client: openai.OpenAI):
    asked = openai_client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    usages = [each.usage for each in asked if each.usage is not None]
    assert [usage.completion_tokens for usage in usages] == [5]
    unasked = list(openai_client.chat.completions.create(**CHAT, stream=True))
    assert all(each.usage is None and each.choices for each in unasked)


@pytest.mark.parametrize("model", ["mock-8b", "llama3.2:latest"])
def test_a_mock_engines_stream_has_the_fingerprint_of_what_it_sent(
    house: House, openai_client: openai.OpenAI, model: str
):
    payload, _ = received(openai_client, model=model, messages=MESSAGES, max_tokens=9, stream=True)
    first = json.loads(payload.split(b"\n\n")[0].removeprefix(b"data: "))
    sent = mock_control(house.vllm_url if model == "mock-8b" else house.ollama_url, "sent")
    assert tuple(sent[first["id"]]) == (9, len(payload), crc32(payload))


# Identity of a request


def test_the_callers_request_id_is_echoed_and_journalled(gateway: Gateway, openai_client: openai.OpenAI):
    raw = openai_client.chat.completions.with_raw_response.create(**CHAT, extra_headers={"X-Request-Id": "my-own.id:1"})
    assert raw.headers["x-request-id"] == "my-own.id:1"
    assert raw.parse()._request_id == "my-own.id:1"
    assert gateway.record_of("my-own.id:1").status == 200


def test_an_answer_says_who_served_it_and_what_the_gateway_cost(openai_client: openai.OpenAI):
    for streams in (False, True):
        raw = openai_client.chat.completions.with_raw_response.create(**CHAT, stream=streams)
        assert raw.headers["x-mrproxy-backend"] == "mock-vllm"
        timings = dict(each.strip().split(";dur=") for each in raw.headers["server-timing"].split(","))
        assert list(timings) == ["queue", "upstream", "proxy"]
        assert all(float(milliseconds) >= 0 for milliseconds in timings.values())
        if streams:
            list(raw.parse())


def test_every_request_is_journalled_once(gateway: Gateway, openai_client: openai.OpenAI):
    ids = [f"once-{number}-{time.monotonic_ns()}" for number in range(5)]
    for request_id in ids:
        openai_client.chat.completions.create(**CHAT, extra_headers={"X-Request-Id": request_id})
    for request_id in ids:
        gateway.record_of(request_id)
    journalled = [record.request_id for record in gateway.records()]
    assert [journalled.count(request_id) for request_id in ids] == [1] * 5


# Refusals


def refusal(error: openai.APIStatusError) -> tuple[object, object]:
    assert error.response.headers["x-request-id"]
    return error.type, error.code


def test_400_is_the_sdks_bad_request(openai_client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model="mock-8b", messages=MESSAGES, max_tokens="many")
    assert refusal(caught.value) == ("invalid_request_error", "invalid_field")
    assert caught.value.param == "max_tokens"


def test_400_of_the_engine_keeps_the_engines_words(openai_client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError, match="max_tokens must be at least 1, got -5"):
        openai_client.chat.completions.create(model="mock-8b", messages=MESSAGES, max_tokens=-5)


@pytest.mark.parametrize("key", ["mr_unknown", EXPIRED_KEY])
def test_401_is_the_sdks_authentication_error(gateway: Gateway, key: str):
    with gateway.open_openai(key) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(**CHAT)
    assert caught.value.response.headers["www-authenticate"].startswith("Bearer")
    assert refusal(caught.value)[0] == "authentication_error"


def test_404_is_the_sdks_not_found_error(gateway: Gateway, openai_client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError, match="model 'no-such-model' not found") as caught:
        openai_client.chat.completions.create(model="no-such-model", messages=MESSAGES, stream=True)
    assert refusal(caught.value) == ("not_found_error", "model_not_found")
    assert gateway.record_of(caught.value.request_id).status == 404


def test_429_is_the_sdks_rate_limit_error_and_says_when_to_come_back(gateway: Gateway):
    with gateway.open_openai(ONCE[0]) as client:
        raw = client.chat.completions.with_raw_response.create(**CHAT)
        assert raw.headers["x-ratelimit-limit-requests"] == "1"
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**CHAT)
    headers = caught.value.response.headers
    assert 1 <= int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-reset-requests"].endswith("ms")
    assert refusal(caught.value) == ("rate_limit_error", "rate_limit_exceeded")
    record = gateway.record_of(caught.value.request_id)
    assert (record.status, record.code, record.backend, record.usage_state) == (429, "request_limit", "", "absent")


def test_429_comes_instead_of_a_stream(gateway: Gateway):
    with gateway.open_openai(ONCE[1]) as client:
        assert list(client.chat.completions.create(**CHAT, stream=True))
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**CHAT, stream=True)


def test_429_of_a_spent_budget_is_insufficient_quota(gateway: Gateway):
    with gateway.open_openai(BUDGET_KEY) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**CHAT)
    assert refusal(caught.value)[1] == "insufficient_quota"


def test_a_guests_limits_are_told_in_every_answer(gateway: Gateway):
    with gateway.open_openai("mr_front-door-guest") as client:
        headers = client.chat.completions.with_raw_response.create(**CHAT).headers
    assert headers["x-ratelimit-limit-requests"] == "1000"
    assert headers["x-ratelimit-limit-tokens"] == "1000000"
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) < 1_000_000


def test_503_of_a_known_model_that_is_nowhere_routable_says_when_to_come_back(
    gateway: Gateway, openai_client: openai.OpenAI
):
    with pytest.raises(openai.InternalServerError) as caught:
        openai_client.chat.completions.create(model="asleep", messages=MESSAGES)
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert refusal(caught.value) == ("service_unavailable_error", "no_backend")
    assert gateway.record_of(caught.value.request_id).code == "no_backend"


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("status_503", 503, openai.InternalServerError),
        ("status_500", 500, openai.InternalServerError),
    ],
)
def test_an_engines_own_refusal_is_passed_on(
    openai_client: openai.OpenAI, fault: str, status: int, error: type[openai.APIStatusError]
):
    with pytest.raises(error, match=f"mock fault: {fault}") as caught:
        openai_client.chat.completions.create(**CHAT, extra_headers={"x-mock-fault": fault})
    assert caught.value.status_code == status


def test_the_sdks_own_retries_obey_retry_after(gateway: Gateway, openai_client: openai.OpenAI):
    client = openai_client.with_options(max_retries=1)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="asleep", messages=MESSAGES)


@pytest.mark.parametrize("after_tokens", [0, 3])
def test_a_stream_that_breaks_ends_in_the_sdks_error(gateway: Gateway, openai_client: openai.OpenAI, after_tokens: int):
    stream = openai_client.chat.completions.create(
        **CHAT,
        stream=True,
        extra_headers={"x-mock-fault": f"reset_stream:{after_tokens}", "X-Request-Id": f"broken-{after_tokens}"},
    )
    tokens = 0
    with pytest.raises(openai.APIError):
        for each in stream:
            tokens += bool(each.choices[0].delta.content)
    assert tokens == after_tokens
    record = gateway.record_of(f"broken-{after_tokens}")
    assert record.code == "backend_failed"
    if after_tokens:
        assert (record.usage_state, record.completion_tokens) == ("counted", 3)
