"""Ollama's SDK for Python, with every kind of engine behind the gateway."""

from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pydantic
import pytest

from tests.front_door.gateway import Gateway
from tests.front_door.translated import (
    ARGUMENTS,
    CALL_TWICE,
    CLAUDE,
    OLLAMA,
    OLLAMA_CTX,
    ONCE_KEY,
    PNG,
    PNG_BYTES,
    VLLM,
    Engines,
    run_engines,
)

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

MODELS = [VLLM, OLLAMA, CLAUDE]
TRANSLATED = [VLLM, CLAUDE]
each_model = pytest.mark.parametrize("model", MODELS)
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there."}]


class Weather(pydantic.BaseModel):
    """The arguments of the tool, and an answer that fits them."""

    city: str
    days: int


def get_weather(city: str, days: int) -> str:
    """What the sky will do.

    Args:
        city: Where.
        days: How far ahead.
    """
    return f"{city}: rain for {days} days"


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with run_engines(tmp_path_factory.mktemp("ollama")) as engines:
        yield engines


@pytest.fixture
def gateway(engines: Engines) -> Gateway:
    return engines.gateway


@pytest.fixture
def headers() -> httpx.Headers:
    """Those of the last answer; the SDK itself shows none."""
    return httpx.Headers()


@pytest.fixture
def client(gateway: Gateway, headers: httpx.Headers) -> Iterator[ollama.Client]:
    hooks = {"response": [lambda response: headers.update(response.headers)]}
    with gateway.open_ollama(event_hooks=hooks) as client:
        yield client


def says(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


# Chats


@each_model
def test_a_chat_is_answered_and_accounted_exactly(
    gateway: Gateway, client: ollama.Client, headers: httpx.Headers, model: str
):
    answer = client.chat(model=model, messages=HELLO, options={"num_predict": 5})
    assert answer.model == model
    assert answer.message.content.count("t") == 5
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "length", 5)
    assert headers["x-mrproxy-lane"] == ("straight" if model == OLLAMA else "translating")
    record = gateway.record_of(headers["x-request-id"])
    assert (record.dialect, record.operation, record.usage_state) == ("ollama", "chat", "exact")
    assert (record.prompt_tokens, record.completion_tokens) == (answer.prompt_eval_count, 5)


@each_model
def test_a_chat_streams_each_token(client: ollama.Client, model: str):
    parts = list(client.chat(model=model, messages=HELLO, options={"num_predict": 5}, stream=True))
    assert len([part for part in parts if part.message.content]) == 5
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (parts[-1].done_reason, parts[-1].eval_count) == ("length", 5)
    assert parts[-1].total_duration > 0


@each_model
async def test_the_async_sdk_streams_on_trio_as_well(gateway: Gateway, model: str):
    client = gateway.open_async_ollama()
    try:
        stream = await client.chat(model=model, messages=says("say:Yes, it does."), stream=True)
        assert "".join([part.message.content async for part in stream]) == "Yes, it does."
    finally:
        await client.close()


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_called_and_their_results_heard(client: ollama.Client, model: str, streams: bool):
    messages = says(CALL_TWICE)
    first = ask(client, streams, model=model, messages=messages, tools=[get_weather])
    assert [(call.function.name, dict(call.function.arguments)) for call in first.tool_calls] == [
        ("get_weather", ARGUMENTS),
        ("get_weather", {"city": "Rom", "days": 3}),
    ]
    messages.append(first)
    for call in first.tool_calls:
        result = get_weather(**call.function.arguments)
        messages.append({"role": "tool", "tool_name": call.function.name, "content": result})
    second = ask(client, streams, model=model, messages=messages, tools=[get_weather])
    assert second.content == "The tools said: Köln: rain for 2 days; Rom: rain for 3 days"


def ask(client: ollama.Client, streams: bool, **asked: Any) -> ollama.Message:
    """The whole message; the SDK leaves it to its callers to put a stream together."""
    if not streams:
        return client.chat(**asked).message
    whole = ollama.Message(role="assistant", content="", thinking="")
    calls: list[Any] = []
    for part in client.chat(**asked, stream=True):
        whole.content += part.message.content or ""
        whole.thinking += part.message.thinking or ""
        calls += part.message.tool_calls or []
    whole.tool_calls = calls or None
    return whole


@each_model
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("think", [True, "low"])
def test_thinking_is_told_apart_from_the_answer(client: ollama.Client, model: str, streams: bool, think: Any):
    message = ask(client, streams, model=model, messages=says("say:Yes."), think=think)
    assert message.thinking.startswith("Thinking (")
    assert message.content == "Yes."


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_fits_the_schema(client: ollama.Client, model: str, streams: bool):
    message = ask(client, streams, model=model, messages=HELLO, format=Weather.model_json_schema())
    assert isinstance(Weather.model_validate_json(message.content), Weather)


@each_model
def test_images_are_seen(client: ollama.Client, model: str):
    asked = [{"role": "user", "content": "What is this?", "images": [PNG]}]
    answer = client.chat(model=model, messages=asked)
    assert answer.message.content.startswith(f"Images: 1 ({PNG_BYTES} bytes)")


@each_model
def test_a_stop_sequence_ends_an_answer(client: ollama.Client, model: str):
    answer = client.chat(model=model, messages=says("say:one two three"), options={"stop": [" three"]})
    assert (answer.message.content, answer.done_reason) == ("one two", "stop")


def test_what_an_engine_cannot_do_is_warned_of(client: ollama.Client, headers: httpx.Headers):
    client.chat(model=VLLM, messages=HELLO, options={"num_predict": 2, "mirostat": 1}, keep_alive="5m")
    assert "mirostat" in headers["warning"]
    assert "keep_alive" in headers["warning"]


@each_model
def test_a_stream_that_is_left_leaves_the_gateway_working(client: ollama.Client, model: str):
    stream = client.chat(model=model, messages=HELLO, options={"num_predict": 1000}, stream=True)
    next(stream)
    stream.close()
    assert client.chat(model=model, messages=HELLO, options={"num_predict": 2}).eval_count == 2


# Texts


@each_model
def test_a_text_is_generated(client: ollama.Client, model: str):
    answer = client.generate(model=model, prompt="one", options={"num_predict": 4})
    assert answer.response.count("t") == 4
    assert (answer.eval_count, answer.done_reason) == (4, "length")
    parts = list(client.generate(model=model, prompt="one", options={"num_predict": 4}, stream=True))
    assert len([part for part in parts if part.response]) == 4


@each_model
def test_a_generated_text_may_have_a_system_a_schema_and_thoughts(client: ollama.Client, model: str):
    answer = client.generate(
        model=model, prompt="Where?", system="Be brief.", format=Weather.model_json_schema(), think=True
    )
    assert isinstance(Weather.model_validate_json(answer.response), Weather)
    assert answer.thinking.startswith("Thinking (")


@each_model
def test_a_model_is_loaded_and_unloaded_as_far_as_that_means_something(client: ollama.Client, model: str):
    assert client.generate(model=model).done_reason == "load"
    assert client.generate(model=model, keep_alive=0).done_reason == "unload"


# Embeddings


@pytest.mark.parametrize("model", [VLLM, OLLAMA])
def test_embeddings_of_many_texts_and_of_one(client: ollama.Client, model: str):
    answer = client.embed(model=model, input=["one", "two"])
    assert len(answer.embeddings) == 2
    assert client.embed(model=model, input="one").embeddings[0] == pytest.approx(answer.embeddings[0])
    assert client.embeddings(model=model, prompt="one").embedding == pytest.approx(answer.embeddings[0])


def test_anthropic_has_no_embeddings(client: ollama.Client):
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed(model=CLAUDE, input="one")
    assert caught.value.status_code in (400, 404)


# Models


def test_models_of_all_engines_are_listed(client: ollama.Client):
    listed = {model.model: model for model in client.list().models}
    assert sorted(listed) == sorted([VLLM, f"{OLLAMA}:latest", f"{OLLAMA_CTX}:latest", CLAUDE])
    assert all(model.digest and model.details is not None for model in listed.values())


@each_model
def test_a_model_is_shown(client: ollama.Client, model: str):
    shown = client.show(model)
    assert "completion" in shown.capabilities
    assert shown.modelinfo["general.architecture"]


def test_the_models_in_memory_are_those_of_ollama(client: ollama.Client):
    client.generate(model=OLLAMA, keep_alive="5m")
    assert {model.model for model in client.ps().models} <= {f"{OLLAMA}:latest", f"{OLLAMA_CTX}:latest"}


# Refusals


@pytest.mark.parametrize("model", TRANSLATED)
@pytest.mark.parametrize(
    ("path", "name", "asked"),
    [
        ("/api/chat", "options", {"messages": HELLO, "options": {"num_predict": "many"}}),
        ("/api/generate", "context", {"prompt": "one", "context": [1, 2, 3]}),
        ("/api/generate", "template", {"prompt": "one", "template": "{{ .Prompt }}"}),
    ],
)
def test_400_names_what_an_engine_cannot_be_told(client: ollama.Client, model: str, path: str, name: str, asked: Any):
    with pytest.raises(ollama.ResponseError, match=name) as caught:
        client._request_raw("POST", path, json={"model": model, "stream": False, **asked})
    assert caught.value.status_code == 400


def test_401_is_the_sdks_response_error(gateway: Gateway):
    with gateway.open_ollama("mr_unknown") as client, pytest.raises(ollama.ResponseError) as caught:
        client.chat(model=CLAUDE, messages=HELLO)
    assert caught.value.status_code == 401


@pytest.mark.parametrize("streams", [False, True])
def test_404_is_the_sdks_response_error(client: ollama.Client, streams: bool):
    with pytest.raises(ollama.ResponseError, match="model 'no-such-model' not found") as caught:
        list(client.chat(model="no-such-model", messages=HELLO, stream=streams))
    assert caught.value.status_code == 404


def test_429_is_the_sdks_response_error(gateway: Gateway):
    with gateway.open_ollama(ONCE_KEY) as client:
        client.chat(model=CLAUDE, messages=HELLO)
        with pytest.raises(ollama.ResponseError) as caught:
            client.chat(model=CLAUDE, messages=HELLO)
    assert caught.value.status_code == 429


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_503_of_an_engine_keeps_its_words(engines: Engines, client: ollama.Client, model: str, streams: bool):
    engines.break_next(model, "status_503")
    with pytest.raises(ollama.ResponseError, match="mock fault: status_503") as caught:
        list(client.chat(model=model, messages=HELLO, stream=streams))
    assert caught.value.status_code == 503


@each_model
@pytest.mark.parametrize("fault", ["reset_stream", "truncate", "error_event"])
def test_a_stream_that_breaks_ends_in_the_sdks_error(engines: Engines, client: ollama.Client, model: str, fault: str):
    engines.break_next(model, fault, after_tokens=3)
    tokens = 0
    with pytest.raises(ollama.ResponseError):
        for part in client.chat(model=model, messages=HELLO, options={"num_predict": 9}, stream=True):
            tokens += bool(part.message.content)
    assert tokens == 3
