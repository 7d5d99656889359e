"""OpenAI's SDK for Python, chats, completions and embeddings, with every kind of engine behind the gateway."""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest

from tests.front_door.gateway import Gateway
from tests.front_door.translated import (
    ARGUMENTS,
    CALL,
    CALL_TWICE,
    CLAUDE,
    MODELS,
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

# The SDK leaves its event generators to the garbage collector at the end of a stream.
ABANDONED = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")
each_model = pytest.mark.parametrize("model", MODELS)
each_embedder = pytest.mark.parametrize("model", [VLLM, OLLAMA, OLLAMA_CTX])
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there."}]


class Weather(pydantic.BaseModel):
    """The arguments of the tool, and an answer that fits them."""

    model_config = pydantic.ConfigDict(extra="forbid")

    city: str
    days: int


TOOL: Any = openai.pydantic_function_tool(Weather, name="get_weather", description="What the sky will do.")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with run_engines(tmp_path_factory.mktemp("openai")) as engines:
        yield engines


@pytest.fixture
def gateway(engines: Engines) -> Gateway:
    return engines.gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with gateway.open_openai() as client:
        yield client


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# Chats


@each_model
def test_a_chat_is_answered_and_accounted_exactly(gateway: Gateway, client: openai.OpenAI, model: str):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, max_tokens=5)
    answer = raw.parse()
    assert answer.model == model
    assert answer.choices[0].message.content.count("t") == 5
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 5)
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.dialect, record.operation, record.usage_state) == ("openai", "chat", "exact")
    assert (record.prompt_tokens, record.completion_tokens) == (answer.usage.prompt_tokens, 5)
    assert record.lane == raw.headers["x-mrproxy-lane"]


def test_only_what_an_engine_does_not_speak_itself_is_translated(client: openai.OpenAI):
    lanes = {
        model: client.chat.completions.with_raw_response.create(model=model, messages=HELLO).headers["x-mrproxy-lane"]
        for model in MODELS
    }
    assert lanes == {VLLM: "straight", OLLAMA: "straight", OLLAMA_CTX: "translating", CLAUDE: "translating"}


@pytest.mark.parametrize("model", [OLLAMA, OLLAMA_CTX])
def test_a_choice_of_tools_reaches_ollama_in_its_own_words_and_the_rest_is_told(client: openai.OpenAI, model: str):
    said: Any = {"model": model, "messages": says(CALL), "tools": [TOOL]}
    forbidden = client.chat.completions.with_raw_response.create(**said, tool_choice="none", max_completion_tokens=3)
    answer = forbidden.parse()
    assert not answer.choices[0].message.tool_calls
    assert answer.usage.completion_tokens <= 3
    assert forbidden.headers["x-mrproxy-lane"] == "translating"
    required = client.chat.completions.with_raw_response.create(**said, tool_choice="required")
    assert required.parse().choices[0].message.tool_calls
    assert "tool_choice" in ", ".join(required.headers.get_list("warning"))


@each_model
def test_a_chat_streams_each_token(gateway: Gateway, client: openai.OpenAI, model: str):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, max_tokens=5, stream=True)
    chunks = list(raw.parse())
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == 5
    assert chunks[-1].choices[0].finish_reason == "length"
    assert len({chunk.id for chunk in chunks}) == 1
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.stream, record.usage_state, record.completion_tokens, record.code) == (True, "exact", 5, "")


@each_model
def test_usage_streams_to_those_who_ask(client: openai.OpenAI, model: str):
    asked = {"model": model, "messages": HELLO, "max_tokens": 5, "stream": True}
    unasked = list(client.chat.completions.create(**asked))
    assert all(chunk.usage is None and chunk.choices for chunk in unasked)
    chunks = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [5]


@each_model
def test_the_streaming_helper_puts_an_answer_together(client: openai.OpenAI, model: str):
    with client.chat.completions.stream(model=model, messages=says("say:To be, or not to be.")) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        answer = stream.get_final_completion()
    assert "".join(deltas) == answer.choices[0].message.content == "To be, or not to be."
    assert answer.choices[0].finish_reason == "stop"


@each_model
def test_an_answer_is_parsed(client: openai.OpenAI, model: str):
    answer = client.chat.completions.parse(model=model, messages=HELLO, response_format=Weather)
    assert isinstance(answer.choices[0].message.parsed, Weather)


@each_model
def test_a_streamed_answer_is_parsed(client: openai.OpenAI, model: str):
    with client.chat.completions.stream(model=model, messages=HELLO, response_format=Weather) as stream:
        answer = stream.get_final_completion()
    assert isinstance(answer.choices[0].message.parsed, Weather)


@each_model
def test_a_stop_sequence_ends_an_answer(client: openai.OpenAI, model: str):
    answer = client.chat.completions.create(model=model, messages=says("say:one two three"), stop=[" three"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two", "stop")


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_called_and_their_results_heard(client: openai.OpenAI, model: str, streams: bool):
    messages: list[Any] = says(CALL_TWICE)
    choice = ask_with_tools(client, model, messages, streams)
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "get_weather"]
    assert [call.function.parsed_arguments for call in calls] == [
        Weather(**ARGUMENTS),
        Weather(city="Rom", days=3),
    ]
    assert len({call.id for call in calls}) == 2
    # Ollama's own /v1 says the role with each delta, and the SDK's helper adds them up to one long word.
    messages.append(choice.message.model_dump(exclude_none=True) | {"role": "assistant"})
    results = ["rain", "sun"]
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": result}
        for call, result in zip(calls, results, strict=True)
    ]
    final = ask_with_tools(client, model, messages, streams)
    assert final.message.content == "The tools said: rain; sun"
    assert final.finish_reason == "stop"


def ask_with_tools(client: openai.OpenAI, model: str, messages: list[Any], streams: bool) -> Any:
    asked = {"model": model, "messages": messages, "tools": [TOOL]}
    if not streams:
        return client.chat.completions.parse(**asked).choices[0]
    with client.chat.completions.stream(**asked) as stream:
        return stream.get_final_completion().choices[0]


@each_model
def test_the_helper_tells_of_a_calls_arguments_as_they_come(client: openai.OpenAI, model: str):
    with client.chat.completions.stream(model=model, messages=says(CALL), tools=[TOOL]) as stream:
        events = list(stream)
    deltas = [event.arguments_delta for event in events if event.type == "tool_calls.function.arguments.delta"]
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [Weather(**ARGUMENTS)]
    assert "".join(deltas) == done[0].arguments


@pytest.mark.parametrize("model", [VLLM, CLAUDE])
def test_a_call_can_be_demanded_and_forbidden(client: openai.OpenAI, model: str):
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice in ("required", named):
        asked = client.chat.completions.create(model=model, messages=says("Hello."), tools=[TOOL], tool_choice=choice)
        assert asked.choices[0].message.tool_calls[0].function.name == "get_weather"
    answer = client.chat.completions.create(model=model, messages=says(CALL), tools=[TOOL], tool_choice="none")
    assert answer.choices[0].message.tool_calls is None


@each_model
def test_images_are_seen(client: openai.OpenAI, model: str):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    content = [{"type": "text", "text": "What is this?"}, image]
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content.startswith(f"Images: 1 ({PNG_BYTES} bytes)")


# An effort alone leaves it to Claude whether it thinks.
WISH_TO_THINK: dict[str, Any] = {
    **{model: {"reasoning_effort": "low"} for model in MODELS},
    CLAUDE: {"reasoning_effort": "low", "extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
}


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_thinking_is_told_apart_from_the_answer(client: openai.OpenAI, model: str, streams: bool):
    asked = {"model": model, "messages": says("say:Yes."), "stream": streams, **WISH_TO_THINK[model]}
    if not streams:
        message = client.chat.completions.create(**asked).choices[0].message
        assert thoughts(message).startswith("Thinking (")
        assert message.content == "Yes."
    else:
        deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked)]
        assert "".join(map(thoughts, deltas)).startswith("Thinking (")
        assert "".join(delta.content or "" for delta in deltas) == "Yes."


def thoughts(message: Any) -> str:
    """Ollama's own /v1 calls it `reasoning`."""
    extra = message.model_extra
    return extra.get("reasoning_content") or extra.get("reasoning") or ""


@each_model
def test_cached_tokens_are_told_where_the_engine_tells(client: openai.OpenAI, model: str):
    usage = client.chat.completions.create(model=model, messages=says("say:cached")).usage
    if model in (VLLM, CLAUDE):
        assert 0 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_what_an_engine_cannot_do_is_warned_of(client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(
        model=CLAUDE, messages=HELLO, max_tokens=5, seed=7, extra_body={"top_k": 5, "guided_regex": "a|b"}
    )
    warnings = raw.headers["warning"]
    assert "seed" in warnings
    assert "guided_regex" in warnings
    assert "top_k" not in warnings


def test_the_engine_gets_its_own_key_and_dialect(engines: Engines, client: openai.OpenAI):
    client.chat.completions.create(model=CLAUDE, messages=HELLO, max_completion_tokens=5, temperature=0.5)
    asked = engines.last_request(CLAUDE)
    assert asked["path"] == "/v1/messages"
    assert asked["headers"]["x-api-key"] == "sk-engine"
    assert "authorization" not in asked["headers"]
    assert asked["body"] == {
        "model": CLAUDE,
        "max_tokens": 5,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello there."}],
        "temperature": 0.5,
    }


@ABANDONED
@each_model
async def test_the_async_sdk_streams_on_trio_as_well(gateway: Gateway, model: str):
    async with gateway.open_async_openai() as client:
        async with client.chat.completions.stream(model=model, messages=says(CALL), tools=[TOOL]) as stream:
            answer = await stream.get_final_completion()
    assert answer.choices[0].message.tool_calls[0].function.parsed_arguments == Weather(**ARGUMENTS)


@each_model
def test_a_stream_that_is_left_leaves_the_gateway_working(client: openai.OpenAI, model: str):
    with client.chat.completions.create(model=model, messages=HELLO, max_tokens=1000, stream=True) as stream:
        next(stream)
    assert client.chat.completions.create(model=model, messages=HELLO, max_tokens=2).usage.completion_tokens == 2


# Completions


@each_model
def test_a_completion_is_answered(client: openai.OpenAI, model: str):
    answer = client.completions.create(model=model, prompt="one", max_tokens=4)
    assert (answer.object, answer.model, answer.usage.completion_tokens) == ("text_completion", model, 4)
    assert answer.choices[0].text.count("t") == 4


@each_model
def test_a_completion_streams(client: openai.OpenAI, model: str):
    chunks = list(client.completions.create(model=model, prompt="one", max_tokens=4, stream=True))
    assert len([chunk for chunk in chunks if chunk.choices[0].text]) == 4
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("model", [OLLAMA_CTX, CLAUDE])
def test_token_ids_are_nothing_for_an_engine_that_takes_text(client: openai.OpenAI, model: str):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=model, prompt=[1, 2, 3])
    assert caught.value.param == "prompt"


# Embeddings


@each_embedder
def test_embeddings_are_the_same_as_numbers_and_as_base64(client: openai.OpenAI, model: str):
    asked = {"model": model, "input": ["one", "two"]}
    by_default = client.embeddings.create(**asked)  # the SDK asks for base64 and decodes it
    floats = client.embeddings.create(**asked, encoding_format="float")
    raw = client.embeddings.create(**asked, encoding_format="base64")
    assert [each.index for each in floats.data] == [0, 1]
    for default, numbers, encoded in zip(by_default.data, floats.data, raw.data, strict=True):
        assert isinstance(encoded.embedding, str)
        payload = base64.b64decode(encoded.embedding)
        assert list(struct.unpack(f"<{len(payload) // 4}f", payload)) == pytest.approx(numbers.embedding, abs=1e-6)
        assert default.embedding == pytest.approx(numbers.embedding, abs=1e-6)
    assert floats.usage.prompt_tokens > 0


def test_anthropic_has_no_embeddings(client: openai.OpenAI):
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model=CLAUDE, input="one")
    assert caught.value.status_code in (400, 404)


# Models


def test_models_of_all_engines_are_listed_and_retrieved(client: openai.OpenAI):
    listed = sorted(model.id for model in client.models.list())
    assert listed == sorted([VLLM, f"{OLLAMA}:latest", f"{OLLAMA_CTX}:latest", CLAUDE])
    assert client.models.retrieve(CLAUDE).owned_by == "anthropic"


# Refusals


@pytest.mark.parametrize("model", [OLLAMA_CTX, CLAUDE])
@pytest.mark.parametrize(
    ("param", "asked"),
    [("max_tokens", {"max_tokens": "many"}), ("n", {"n": 2}), ("functions", {"functions": [{"name": "old"}]})],
)
def test_400_names_what_an_engine_cannot_be_told(client: openai.OpenAI, model: str, param: str, asked: Any):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=HELLO, **asked)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_400_of_an_engine_keeps_its_words(client: openai.OpenAI):
    tool = {"type": "function", "function": {"name": "get weather!", "parameters": {"type": "object"}}}
    with pytest.raises(openai.BadRequestError, match="should match pattern"):
        client.chat.completions.create(model=CLAUDE, messages=HELLO, tools=[tool])


def test_401_is_the_sdks_authentication_error(gateway: Gateway):
    with gateway.open_openai("mr_unknown") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=CLAUDE, messages=HELLO)


def test_404_is_the_sdks_not_found_error(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    assert caught.value.code == "model_not_found"


def test_429_is_the_sdks_rate_limit_error(gateway: Gateway):
    with gateway.open_openai(ONCE_KEY) as client:
        client.chat.completions.create(model=CLAUDE, messages=HELLO)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model=CLAUDE, messages=HELLO)
    assert int(caught.value.response.headers["retry-after"]) >= 1


@each_model
@pytest.mark.parametrize("status", [500, 503])
def test_an_engines_trouble_keeps_its_status_and_words(
    engines: Engines, client: openai.OpenAI, model: str, status: int
):
    engines.break_next(model, f"status_{status}")
    with pytest.raises(openai.InternalServerError, match=f"mock fault: status_{status}") as caught:
        client.chat.completions.create(model=model, messages=HELLO)
    assert caught.value.status_code == status


@each_model
@pytest.mark.parametrize("fault", ["reset_stream", "truncate", "error_event"])
def test_a_stream_that_breaks_ends_in_the_sdks_error(engines: Engines, client: openai.OpenAI, model: str, fault: str):
    engines.break_next(model, fault, after_tokens=3)
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, max_tokens=9, stream=True)
    tokens = 0
    with pytest.raises(openai.APIError):
        for chunk in raw.parse():
            tokens += bool(chunk.choices and chunk.choices[0].delta.content)
    assert tokens == 3
    record = engines.gateway.record_of(raw.headers["x-request-id"])
    state = "counted"
    if "llama" in model:  # Ollama has no tokenizer that could be asked for the prompt
        # In the straight lane an error passes as any other event.
        state = "estimated" if record.lane == "straight" and fault == "error_event" else "partial"
    assert (record.usage_state, record.completion_tokens) == (state, 3)
