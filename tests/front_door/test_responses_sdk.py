"""OpenAI's SDK for Python, the Responses API, with every kind of engine behind the gateway."""

from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner

from tests.front_door.gateway import Gateway
from tests.front_door.translated import (
    ARGUMENTS,
    CALL,
    CALL_TWICE,
    CLAUDE,
    MODELS,
    OLLAMA_CTX,
    ONCE_KEY,
    OTHER_KEY,
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


class Weather(pydantic.BaseModel):
    """The arguments of the tool, and an answer that fits them."""

    model_config = pydantic.ConfigDict(extra="forbid")

    city: str
    days: int


TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "What the sky will do.",
    "parameters": Weather.model_json_schema(),
    "strict": True,
}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with run_engines(tmp_path_factory.mktemp("responses")) as engines:
        yield engines


@pytest.fixture
def gateway(engines: Engines) -> Gateway:
    return engines.gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with gateway.open_openai() as client:
        yield client


# Answers


@each_model
def test_a_response_is_made_and_accounted_exactly(gateway: Gateway, client: openai.OpenAI, model: str):
    raw = client.responses.with_raw_response.create(
        model=model, input="Hello there.", instructions="Be brief.", max_output_tokens=5
    )
    response = raw.parse()
    assert response.output_text.count("t") == 5
    assert (response.model, response.status) == (model, "incomplete")
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.instructions == "Be brief."
    assert response.usage.output_tokens == 5
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.dialect, record.operation, record.lane) == ("responses", "responses", "translating")
    assert (record.usage_state, record.prompt_tokens) == ("exact", response.usage.input_tokens)


@each_model
def test_a_streamed_response_is_the_one_that_its_events_tell(client: openai.OpenAI, model: str):
    with client.responses.stream(model=model, input="say:To be, or not to be.") as stream:
        events = list(stream)
        response = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == response.output_text == "To be, or not to be."
    assert response.usage.output_tokens > 0


@each_model
def test_bare_events_can_be_read_without_the_helper(client: openai.OpenAI, model: str):
    events = list(client.responses.create(model=model, input="Hello.", max_output_tokens=5, stream=True))
    assert sum(event.type == "response.output_text.delta" for event in events) == 5
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.usage.output_tokens == 5


@ABANDONED
@each_model
async def test_the_async_sdk_streams_on_trio_as_well(gateway: Gateway, model: str):
    async with gateway.open_async_openai() as client:
        async with client.responses.stream(model=model, input="say:Yes, it does.") as stream:
            response = await stream.get_final_response()
    assert response.output_text == "Yes, it does."


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_is_parsed(client: openai.OpenAI, model: str, streams: bool):
    asked: Any = {"model": model, "input": "Where, and how long?", "text_format": Weather}
    if streams:
        with client.responses.stream(**asked) as stream:
            response = stream.get_final_response()
    else:
        response = client.responses.parse(**asked)
    assert isinstance(response.output_parsed, Weather)
    assert response.text.format.type == "json_schema"


@each_model
def test_images_are_seen(client: openai.OpenAI, model: str):
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
    content: Any = [{"type": "input_text", "text": "What is this?"}, image]
    response = client.responses.create(model=model, input=[{"role": "user", "content": content}])
    assert response.output_text.startswith(f"Images: 1 ({PNG_BYTES} bytes)")


# An effort alone leaves it to Claude whether it thinks, and there is no other word for it here.
@pytest.mark.parametrize("model", [model for model in MODELS if model != CLAUDE])
@pytest.mark.parametrize("streams", [False, True])
def test_reasoning_is_an_item_of_its_own(client: openai.OpenAI, model: str, streams: bool):
    asked: Any = {"model": model, "input": "say:Yes.", "reasoning": {"effort": "low"}}
    if streams:
        with client.responses.stream(**asked) as stream:
            kinds = {event.type for event in stream}
            response = stream.get_final_response()
        assert {"response.reasoning_text.delta", "response.reasoning_text.done"} <= kinds
    else:
        response = client.responses.create(**asked)
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text.startswith("Thinking (")
    assert response.output_text == "Yes."


# Conversations


@each_model
def test_a_conversation_goes_on_from_a_stored_response(engines: Engines, client: openai.OpenAI, model: str):
    first = client.responses.create(model=model, input="say:Nice to meet you.", instructions="Be polite.")
    second = client.responses.create(model=model, input="say:Again.", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.output_text == "Again."
    heard = [
        (message["role"], words(message["content"])) for message in engines.last_request(model)["body"]["messages"]
    ]
    assert heard == [
        ("user", "say:Nice to meet you."),
        ("assistant", "Nice to meet you."),
        ("user", "say:Again."),
    ]


def words(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_called_and_their_results_heard(client: openai.OpenAI, model: str, streams: bool):
    first = ask_with_tools(client, streams, model=model, input=CALL_TWICE)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather", "get_weather"]
    assert [Weather.model_validate_json(call.arguments) for call in calls] == [
        Weather(**ARGUMENTS),
        Weather(city="Rom", days=3),
    ]
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": result}
        for call, result in zip(calls, ["rain", "sun"], strict=True)
    ]
    second = ask_with_tools(client, streams, model=model, input=results, previous_response_id=first.id)
    assert second.output_text == "The tools said: rain; sun"


def ask_with_tools(client: openai.OpenAI, streams: bool, **asked: Any) -> Any:
    if not streams:
        return client.responses.create(**asked, tools=[TOOL])
    with client.responses.stream(**asked, tools=[TOOL]) as stream:
        return stream.get_final_response()


@each_model
def test_a_caller_may_keep_the_conversation_itself(client: openai.OpenAI, model: str):
    said: list[Any] = [{"role": "user", "content": CALL}]
    first = client.responses.create(model=model, input=said, tools=[TOOL], store=False)
    said += [item.model_dump(exclude_none=True) for item in first.output]
    said.append({"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "rain"})
    second = client.responses.create(model=model, input=said, tools=[TOOL], store=False)
    assert second.output_text == "The tools said: rain"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_the_sdks_tool_runner_calls_and_answers(client: openai.OpenAI, model: str, streams: bool):
    asked: list[object] = []

    def execute(arguments: dict[str, object]) -> str:
        asked.append(arguments)
        return "rain"

    runner = ResponsesToolRunner(functions=[RegisteredFunction(TOOL, execute)])
    response = runner.run(client, {"model": model, "input": CALL}, stream=streams, max_steps=3)
    assert response.output_text == "The tools said: rain"
    assert asked == [ARGUMENTS]


# What is kept


def test_a_response_is_retrieved_listed_and_deleted(client: openai.OpenAI):
    made = client.responses.create(model=CLAUDE, input="say:Kept.", metadata={"topic": "memory"})
    kept = client.responses.retrieve(made.id)
    assert kept.model_dump() == made.model_dump()
    assert kept.metadata == {"topic": "memory"}
    items = list(client.responses.input_items.list(made.id))
    assert [(item.role, item.content[0].text) for item in items] == [("user", "say:Kept.")]
    assert client.responses.delete(made.id) is None
    for gone in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)
    with pytest.raises(openai.APIStatusError, match=made.id) as caught:
        client.responses.create(model=CLAUDE, input="say:More.", previous_response_id=made.id)
    assert caught.value.status_code in (400, 404)


def test_a_streamed_response_is_kept_as_well(client: openai.OpenAI):
    with client.responses.stream(model=VLLM, input="say:Kept.") as stream:
        made = stream.get_final_response()
    assert client.responses.retrieve(made.id).output_text == "Kept."


def test_input_items_come_in_pages(client: openai.OpenAI):
    said = [{"role": "user", "content": f"say:{number}"} for number in range(5)]
    made = client.responses.create(model=VLLM, input=said)
    listed = list(client.responses.input_items.list(made.id, limit=2, order="asc"))
    assert [item.content[0].text for item in listed] == [f"say:{number}" for number in range(5)]


def test_nobody_else_sees_a_response(gateway: Gateway, client: openai.OpenAI):
    made = client.responses.create(model=VLLM, input="say:Secret.")
    with gateway.open_openai(OTHER_KEY) as other:
        with pytest.raises(openai.NotFoundError):
            other.responses.retrieve(made.id)
        with pytest.raises(openai.APIStatusError):
            other.responses.create(model=VLLM, input="Go on.", previous_response_id=made.id)
    assert client.responses.retrieve(made.id).output_text == "Secret."


# Refusals


@pytest.mark.parametrize(
    ("param", "asked"),
    [
        ("tools", {"tools": [{"type": "web_search"}]}),
        ("background", {"background": True}),
        ("conversation", {"conversation": 1}),
        ("max_output_tokens", {"max_output_tokens": "many"}),
    ],
)
def test_400_names_what_there_is_not(client: openai.OpenAI, param: str, asked: Any):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=CLAUDE, input="Hello.", **asked)
    assert caught.value.param.startswith(param)


def test_401_is_the_sdks_authentication_error(gateway: Gateway):
    with gateway.open_openai("mr_unknown") as client, pytest.raises(openai.AuthenticationError):
        client.responses.create(model=CLAUDE, input="Hello.")


def test_404_is_the_sdks_not_found_error(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="no-such-model", input="Hello.")
    assert caught.value.code == "model_not_found"


def test_429_is_the_sdks_rate_limit_error(gateway: Gateway):
    with gateway.open_openai(ONCE_KEY) as client:
        client.responses.create(model=CLAUDE, input="Hello.")
        with pytest.raises(openai.RateLimitError) as caught:
            client.responses.create(model=CLAUDE, input="Hello.")
    assert int(caught.value.response.headers["retry-after"]) >= 1


@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_503_of_an_engine_keeps_its_words(engines: Engines, client: openai.OpenAI, model: str, streams: bool):
    engines.break_next(model, "status_503")
    with pytest.raises(openai.InternalServerError, match="mock fault: status_503") as caught:
        client.responses.create(model=model, input="Hello.", stream=streams)
    assert caught.value.status_code == 503


@each_model
@pytest.mark.parametrize("fault", ["reset_stream", "truncate", "error_event"])
def test_a_stream_that_breaks_fails_and_then_raises(engines: Engines, client: openai.OpenAI, model: str, fault: str):
    engines.break_next(model, fault, after_tokens=3)
    events: list[Any] = []
    with pytest.raises(openai.APIError):
        events.extend(client.responses.create(model=model, input="Hello.", max_output_tokens=9, stream=True))
    assert sum(event.type == "response.output_text.delta" for event in events) == 3
    assert events[-1].type == "response.failed"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(events[0].response.id)


def test_an_ollama_loads_nothing_anew_for_a_response(engines: Engines, client: openai.OpenAI):
    client.responses.create(model=OLLAMA_CTX, input="Hello.", max_output_tokens=2)
    assert engines.last_request(OLLAMA_CTX)["body"]["options"]["num_ctx"] == 8192
