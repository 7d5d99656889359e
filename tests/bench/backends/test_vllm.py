"""vLLM's wire format, as bytes and through the OpenAI SDK."""

import json

import openai
import pytest

from bench.backends.build import id_source
from bench.backends.settings import EngineSettings
from bench.backends.vllm import Vllm
from bench.backends.work import Counts, Reply, Timing, Work
from bench.http1 import Request


def dialect():
    return Vllm(EngineSettings("vllm", ("mock-8b", "org/other")), id_source(1), lambda: Counts(3, 4, 100, 200))


def post(path, body):
    return Request(b"POST", path, b"", json.dumps(body).encode())


def chat(**fields):
    body = {"model": "mock-8b", "messages": [{"role": "user", "content": "hi"}]} | fields
    return dialect().answer(post(b"/v1/chat/completions", body), 1_700_000_000)


def event_json(event):
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    return json.loads(event[6:])


def test_a_stream_opens_with_the_role_and_closes_with_finish_usage_and_done():
    work = chat(stream=True, max_tokens=5, stream_options={"include_usage": True})
    assert isinstance(work, Work)
    opening = event_json(work.opening[0])
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    closing = work.closing(Timing(0), 5)
    finish, usage = event_json(closing.events[0]), event_json(closing.events[1])
    assert finish["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 5
    assert closing.events[2] == b"data: [DONE]\n\n"
    assert closing.usage_index == 1


def test_without_include_usage_there_is_no_usage_event():
    work = chat(stream=True)
    assert isinstance(work, Work)
    assert len(work.closing(Timing(0), 5).events) == 2


def test_a_token_event_has_vllms_fields_in_order():
    work = chat(stream=True)
    assert isinstance(work, Work)
    event = event_json(work.event % 42)
    assert list(event) == ["id", "object", "created", "model", "choices"]
    assert list(event["choices"][0]) == ["index", "delta", "logprobs", "finish_reason", "token_ids"]
    assert event["choices"][0]["delta"] == {"content": "t0000000000000000042 "}
    assert 150 <= len(work.event % 42) <= 260


def test_a_model_name_with_a_percent_sign_does_not_break_the_template():
    made = Vllm(EngineSettings("vllm", ("100%d",)), id_source(1), lambda: Counts(0, 0, 0, 0))
    work = made.answer(post(b"/v1/completions", {"model": "100%d", "prompt": "a", "stream": True}), 1)
    assert isinstance(work, Work)
    assert event_json(work.event % 1)["model"] == "100%d"


def test_a_fault_suffix_names_a_known_model():
    work = chat(model="mock-8b!reset_stream:2")
    assert isinstance(work, Work)
    assert work.fault == "reset_stream:2"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (b"/v1/chat/completions", {"model": "mock-8b"}, 400),
        (b"/v1/chat/completions", {"model": "nope", "messages": []}, 404),
        (b"/v1/completions", {"model": "mock-8b"}, 400),
        (b"/v1/completions", {"model": "nope", "prompt": "a"}, 404),
        (b"/v1/completions", {"model": "mock-8b", "prompt": "a", "max_tokens": 0}, 400),
        (b"/v1/embeddings", {"model": "mock-8b"}, 400),
        (b"/v1/embeddings", {"model": "nope", "input": "a"}, 404),
        (b"/nowhere", {}, 404),
        (b"/health", {}, 405),
    ],
)
def test_wrong_requests_get_vllms_error_shape(path, body, status):
    reply = dialect().answer(post(path, body), 1)
    assert isinstance(reply, Reply)
    assert reply.status == status
    error = json.loads(reply.data.split(b"\r\n\r\n", 1)[1])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status


def test_metrics_name_what_vllm_names():
    reply = dialect().answer(Request(b"GET", b"/metrics", b"", b""), 1)
    assert isinstance(reply, Reply)
    text = reply.data.decode()
    assert 'vllm:num_requests_running{engine="0",model_name="mock-8b"} 3.0' in text
    assert 'vllm:num_requests_waiting{engine="0",model_name="mock-8b"} 4.0' in text
    assert "vllm:kv_cache_usage_perc" in text


@pytest.fixture
def client(vllm):
    with openai.OpenAI(base_url=f"{vllm.url}/v1", api_key="none", max_retries=0) as made:
        yield made


MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_reads_whole_answers(client):
    answer = client.chat.completions.create(model="mock-8b", messages=MESSAGES, max_tokens=4)
    assert answer.choices[0].message.content.count("t0") == 4
    assert answer.usage.completion_tokens == 4
    text = client.completions.create(model="mock-8b", prompt="hi", max_tokens=3)
    assert text.choices[0].text.count("t0") == 3


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_reads_streams(client):
    options = {"include_usage": True}
    with client.chat.completions.create(
        model="mock-8b", messages=MESSAGES, max_tokens=4, stream=True, stream_options=options
    ) as stream:
        chunks = list(stream)
    assert [chunk.choices[0].delta.role for chunk in chunks[:1]] == ["assistant"]
    assert sum("t0" in (chunk.choices[0].delta.content or "") for chunk in chunks if chunk.choices) == 4
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 4
    with client.completions.create(model="mock-8b", prompt="hi", max_tokens=3, stream=True) as stream:
        assert sum("t0" in chunk.choices[0].text for chunk in stream) == 3


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_reads_embeddings_and_models(client):
    answer = client.embeddings.create(model="mock-8b", input=["a", "b"])
    assert [len(item.embedding) for item in answer.data] == [8, 8]
    assert [model.id for model in client.models.list()] == ["mock-8b"]
    assert client.models.retrieve("mock-8b").owned_by == "vllm"


@pytest.mark.slow
@pytest.mark.sdk
@pytest.mark.parametrize(
    ("fault", "error"),
    [("status_429", openai.RateLimitError), ("status_503", openai.InternalServerError), ("refuse", openai.APIError)],
)
def test_the_sdk_raises_its_own_errors_for_faults(client, fault, error):
    with pytest.raises(error):
        client.chat.completions.create(model=f"mock-8b!{fault}", messages=MESSAGES)


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_raises_not_found_and_bad_request(client):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nope", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="mock-8b", prompt="a", max_tokens=0)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_a_chat_is_tokenized_as_it_is_answered(fields):
    work = chat(stream=True, max_tokens=5, **fields)
    body = {"model": "mock-8b", "messages": [{"role": "user", "content": "hi"}]} | fields
    reply = dialect().answer(post(b"/tokenize", body), 1)
    answer = json.loads(reply.data.split(b"\r\n\r\n", 1)[1])
    assert answer["count"] == len(answer["tokens"]) == work.prompt_tokens
    assert dialect().answer(post(b"/tokenize", body | {"add_generation_prompt": False}), 1) != reply


def test_a_prompt_is_tokenized_as_it_is_answered():
    work = dialect().answer(post(b"/v1/completions", {"model": "mock-8b", "prompt": "grün" * 20}), 1)
    reply = dialect().answer(post(b"/tokenize", {"model": "mock-8b", "prompt": "grün" * 20}), 1)
    assert json.loads(reply.data.split(b"\r\n\r\n", 1)[1])["count"] == work.prompt_tokens


def test_the_tokenizer_refuses_what_it_does_not_serve():
    assert dialect().answer(post(b"/tokenize", {"model": "x", "prompt": "hi"}), 1).status == 404
    assert dialect().answer(post(b"/tokenize", {"model": "mock-8b"}), 1).status == 400
    assert dialect().answer(post(b"/v1/chat/completions/render", {"model": "mock-8b"}), 1).status == 404
