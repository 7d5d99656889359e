"""Anthropic's SDK for Python, with every kind of engine behind the gateway."""

import functools
from collections.abc import Iterator
from typing import Any

import anthropic
import pydantic
import pytest

from tests.front_door.gateway import KEY, Gateway
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
HELLO: Any = [{"role": "user", "content": "Hello there."}]


class Weather(pydantic.BaseModel):
    """The arguments of the tool, and an answer that fits them."""

    model_config = pydantic.ConfigDict(extra="forbid")

    city: str
    days: int


TOOL: Any = {
    "name": "get_weather",
    "description": "What the sky will do.",
    "input_schema": Weather.model_json_schema(),
}


def open_anthropic(gateway: Gateway, key: str = KEY, below: str = "/anthropic") -> anthropic.Anthropic:
    """No retries of the SDK's own: what succeeds, succeeds because of the gateway."""
    http = anthropic.DefaultHttpxClient(trust_env=False)
    url = f"{gateway.url}{below}"
    return anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=30, http_client=http)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with run_engines(tmp_path_factory.mktemp("anthropic")) as engines:
        yield engines


@pytest.fixture
def gateway(engines: Engines) -> Gateway:
    return engines.gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with open_anthropic(gateway) as client:
        yield client


def says(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# Messages


@each_model
@pytest.mark.parametrize("below", ["", "/anthropic"])
def test_a_message_is_answered_and_accounted_exactly(gateway: Gateway, model: str, below: str):
    with open_anthropic(gateway, below=below) as client:
        raw = client.messages.with_raw_response.create(model=model, messages=HELLO, system="Be brief.", max_tokens=5)
    message = raw.parse()
    assert message._request_id == raw.headers["x-request-id"]
    assert (message.type, message.role, message.model) == ("message", "assistant", model)
    assert text_of(message).count("t") == 5
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 5)
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.dialect, record.operation, record.usage_state) == ("anthropic", "messages", "exact")
    assert (record.prompt_tokens, record.completion_tokens) == (message.usage.input_tokens, 5)


@each_model
def test_a_message_streams_each_token(client: anthropic.Anthropic, model: str):
    events = list(client.messages.create(model=model, messages=HELLO, max_tokens=5, stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 5,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@each_model
def test_the_streaming_helper_puts_a_message_together(client: anthropic.Anthropic, model: str):
    with client.messages.stream(model=model, messages=says("say:To be, or not to be."), max_tokens=50) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 1
    assert "".join(pieces) == text_of(message) == "To be, or not to be."
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


@ABANDONED
@each_model
async def test_the_async_sdk_streams_on_trio_as_well(gateway: Gateway, model: str):
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, auth_token=KEY, max_retries=0, timeout=30, http_client=http
    ) as client:
        async with client.messages.stream(model=model, messages=says("say:Yes."), max_tokens=50) as stream:
            message = await stream.get_final_message()
    assert text_of(message) == "Yes."


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_called_and_their_results_heard(client: anthropic.Anthropic, model: str, streams: bool):
    messages = says(CALL_TWICE)
    first = ask(client, streams, model=model, messages=messages, tools=[TOOL])
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", ARGUMENTS),
        ("get_weather", {"city": "Rom", "days": 3}),
    ]
    assert len({call.id for call in calls}) == 2
    messages.append({"role": "assistant", "content": first.content})
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": result}
        for call, result in zip(calls, ["rain", "sun"], strict=True)
    ]
    messages.append({"role": "user", "content": results})
    second = ask(client, streams, model=model, messages=messages, tools=[TOOL])
    assert text_of(second) == "The tools said: rain; sun"
    assert second.stop_reason == "end_turn"


def ask(client: anthropic.Anthropic, streams: bool, max_tokens: int = 200, **asked: Any) -> Any:
    if not streams:
        return client.messages.create(max_tokens=max_tokens, **asked)
    with client.messages.stream(max_tokens=max_tokens, **asked) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("model", [VLLM, CLAUDE])
def test_a_call_can_be_demanded_and_forbidden(client: anthropic.Anthropic, model: str):
    asked = functools.partial(client.messages.create, model=model, max_tokens=50, tools=[TOOL])
    for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
        message = asked(messages=says("Hello."), tool_choice=choice)
        assert [block.type for block in message.content] == ["tool_use"]
    message = asked(messages=says(CALL), tool_choice={"type": "none"})
    assert [block.type for block in message.content] == ["text"]


# The SDK asks for a thread, which a gateway cannot hold: it must hear so in the words on which it goes on without one.
@pytest.mark.parametrize("model", [VLLM, OLLAMA, OLLAMA_CTX])
@pytest.mark.parametrize("streams", [False, True])
def test_the_sdks_tool_runner_calls_and_answers(
    engines: Engines, client: anthropic.Anthropic, model: str, streams: bool
):
    asked: list[tuple[str, int]] = []

    @anthropic.beta_tool
    def get_weather(city: str, days: int) -> str:
        """What the sky will do."""
        asked.append((city, days))
        return "rain"

    runner = client.beta.messages.tool_runner(
        model=model, messages=says(CALL), tools=[get_weather], max_tokens=200, stream=streams
    )
    assert text_of(runner.until_done()) == "The tools said: rain"
    assert asked == [("Köln", 2)]
    roles = [message["role"] for message in engines.last_request(model)["body"]["messages"]]
    assert roles == ["user", "assistant", "tool"]


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_thinking_is_a_block_of_its_own(client: anthropic.Anthropic, model: str, streams: bool):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = ask(client, streams, 2000, model=model, messages=says("say:Yes."), thinking=thinking)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking.startswith("Thinking (")
    assert text_of(message) == "Yes."


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_thinking_is_taken_back_with_a_tools_result(client: anthropic.Anthropic, model: str, streams: bool):
    asked: Any = {"model": model, "tools": [TOOL], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    messages = says(CALL)
    first = ask(client, streams, 2000, messages=messages, **asked)
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    messages.append({"role": "assistant", "content": first.content})
    result = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "rain"}
    messages.append({"role": "user", "content": [result]})
    assert text_of(ask(client, streams, 2000, messages=messages, **asked)) == "The tools said: rain"


@each_model
def test_an_answer_is_parsed(client: anthropic.Anthropic, model: str):
    message = client.messages.parse(model=model, messages=HELLO, max_tokens=200, output_format=Weather)
    assert isinstance(message.parsed_output, Weather)


@each_model
def test_images_are_seen(client: anthropic.Anthropic, model: str):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    content: Any = [image, {"type": "text", "text": "What is this?"}]
    message = client.messages.create(model=model, messages=[{"role": "user", "content": content}], max_tokens=50)
    assert text_of(message).startswith(f"Images: 1 ({PNG_BYTES} bytes)")


@each_model
def test_a_stop_sequence_ends_an_answer(client: anthropic.Anthropic, model: str):
    message = client.messages.create(
        model=model, messages=says("say:one two three"), max_tokens=50, stop_sequences=[" three"]
    )
    assert text_of(message) == "one two"
    if model in (VLLM, CLAUDE):  # Ollama does not tell why it stopped
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " three")


@pytest.mark.parametrize("model", [VLLM, CLAUDE])
@pytest.mark.parametrize("streams", [False, True])
def test_cached_tokens_are_no_input_tokens(engines: Engines, client: anthropic.Anthropic, model: str, streams: bool):
    usage = ask(client, streams, model=model, messages=says("say:cached")).usage
    assert usage.cache_read_input_tokens > 0
    assert usage.input_tokens + usage.cache_read_input_tokens == engines.last_request(model)["prompt_tokens"]


def test_what_an_engine_cannot_do_is_warned_of(client: anthropic.Anthropic):
    block = {"type": "text", "text": "Hi.", "cache_control": {"type": "ephemeral"}}
    raw = client.messages.with_raw_response.create(
        model=VLLM, messages=[{"role": "user", "content": [block]}], max_tokens=5, service_tier="auto"
    )
    assert "cache_control" in raw.headers["warning"]
    assert "service_tier" in raw.headers["warning"]


@each_model
def test_a_stream_that_is_left_leaves_the_gateway_working(client: anthropic.Anthropic, model: str):
    with client.messages.create(model=model, messages=HELLO, max_tokens=1000, stream=True) as stream:
        next(stream)
    assert client.messages.create(model=model, messages=HELLO, max_tokens=2).usage.output_tokens == 2


# Counting and listing


@each_model
def test_tokens_are_counted_before_they_are_spent(client: anthropic.Anthropic, model: str):
    short = client.messages.count_tokens(model=model, messages=HELLO)
    longer = client.messages.count_tokens(model=model, messages=HELLO, system="Be brief. " * 100, tools=[TOOL])
    assert 0 < short.input_tokens < longer.input_tokens


def test_anthropic_counts_itself(client: anthropic.Anthropic):
    counted = client.messages.count_tokens(model=CLAUDE, messages=HELLO).input_tokens
    assert counted == client.messages.create(model=CLAUDE, messages=HELLO, max_tokens=5).usage.input_tokens


@pytest.mark.parametrize("below", ["", "/anthropic"])
def test_models_of_all_engines_are_listed_and_retrieved(gateway: Gateway, below: str):
    with open_anthropic(gateway, below=below) as client:
        listed = list(client.models.list())
        assert sorted(model.id for model in listed) == sorted(
            [VLLM, f"{OLLAMA}:latest", f"{OLLAMA_CTX}:latest", CLAUDE]
        )
        assert all(model.type == "model" for model in listed)
        assert client.models.retrieve(VLLM).id == VLLM
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("no-such-model")


# Refusals


@pytest.mark.parametrize("model", [VLLM, OLLAMA_CTX])
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("max_tokens", {"max_tokens": 0}),
        ("tools.0", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("mcp_servers", {"extra_body": {"mcp_servers": [{"type": "url", "url": "https://x.example", "name": "x"}]}}),
    ],
)
def test_400_names_what_there_is_not(client: anthropic.Anthropic, model: str, name: str, asked: Any):
    with pytest.raises(anthropic.BadRequestError, match=name) as caught:
        client.messages.create(**{"model": model, "messages": HELLO, "max_tokens": 5} | asked)
    assert caught.value.body["error"]["type"] == "invalid_request_error"


def test_401_is_the_sdks_authentication_error(gateway: Gateway):
    with open_anthropic(gateway, "mr_unknown") as client, pytest.raises(anthropic.AuthenticationError) as caught:
        client.messages.create(model=VLLM, messages=HELLO, max_tokens=5)
    assert caught.value.body["error"]["type"] == "authentication_error"


def test_404_is_the_sdks_not_found_error(client: anthropic.Anthropic):
    with pytest.raises(anthropic.NotFoundError, match="no-such-model"):
        client.messages.create(model="no-such-model", messages=HELLO, max_tokens=5)


def test_429_is_the_sdks_rate_limit_error(gateway: Gateway):
    with open_anthropic(gateway, ONCE_KEY) as client:
        client.messages.create(model=VLLM, messages=HELLO, max_tokens=5)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model=VLLM, messages=HELLO, max_tokens=5)
    assert int(caught.value.response.headers["retry-after"]) >= 1


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_503_of_an_engine_keeps_its_words(engines: Engines, client: anthropic.Anthropic, model: str, streams: bool):
    engines.break_next(model, "status_503")
    with pytest.raises(anthropic.InternalServerError, match="mock fault: status_503") as caught:
        client.messages.create(model=model, messages=HELLO, max_tokens=5, stream=streams)
    assert caught.value.status_code == 503


def test_529_of_anthropic_stays_overloaded(engines: Engines, client: anthropic.Anthropic):
    engines.break_next(CLAUDE, "status_529")
    with pytest.raises(anthropic.OverloadedError, match="mock fault: status_529"):
        client.messages.create(model=CLAUDE, messages=HELLO, max_tokens=5)


@each_model
@pytest.mark.parametrize("fault", ["reset_stream", "truncate", "error_event"])
def test_a_stream_that_breaks_ends_in_the_sdks_error(
    engines: Engines, client: anthropic.Anthropic, model: str, fault: str
):
    engines.break_next(model, fault, after_tokens=3)
    events: list[Any] = []
    with pytest.raises(anthropic.APIError):
        events.extend(client.messages.create(model=model, messages=HELLO, max_tokens=9, stream=True))
    assert sum(event.type == "content_block_delta" for event in events) == 3
