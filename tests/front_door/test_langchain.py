"""LangChain's models for OpenAI (both APIs), Anthropic and Ollama, with every kind of engine behind the gateway."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import anthropic
import ollama
import openai
import pydantic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI

from tests.front_door.gateway import KEY, Gateway
from tests.front_door.translated import (
    ARGUMENTS,
    CALL_TWICE,
    CLAUDE,
    MODELS,
    ONCE_KEY,
    PNG,
    PNG_BYTES,
    VLLM,
    Engines,
    run_engines,
)

pytestmark = [pytest.mark.sdk, pytest.mark.slow]


# Each client of httpx's own would read all of the machine's certificates.
HTTP: Any = {"trust_env": False, "verify": False}


@pytest.fixture(scope="module")
def http() -> Iterator[Any]:
    """LangChain closes no connections."""
    with openai.DefaultHttpxClient(**HTTP) as client:
        yield client


@pytest.fixture
def open_chat(gateway: Gateway, http: Any) -> Iterator["Open"]:
    with ExitStack() as stack:
        yield Open(gateway, http, stack)


@dataclass(frozen=True)
class Open:
    """LangChain's model for a model of the gateway's. Nothing is tried twice."""

    gateway: Gateway
    http: Any
    stack: ExitStack

    def __call__(self, way: "Way", model: str, key: str = KEY, **options: Any) -> BaseChatModel:
        return getattr(self, way.opener)(model, key, **options)

    def openai(self, model: str, key: str, **options: Any) -> BaseChatModel:
        asynchronous = openai.DefaultAsyncHttpxClient(**HTTP)  # it would make its own
        clients = {"http_client": self.http, "http_async_client": asynchronous}
        url = f"{self.gateway.url}/v1"
        # Of a server that is not OpenAI's it asks for no usage unless told.
        return ChatOpenAI(
            model=model, base_url=url, api_key=key, max_retries=0, stream_usage=True, **clients, **options
        )

    def responses(self, model: str, key: str, **options: Any) -> BaseChatModel:
        return self.openai(model, key, use_responses_api=True, **options)

    def anthropic(self, model: str, key: str, **options: Any) -> BaseChatModel:
        url = f"{self.gateway.url}/anthropic"
        return ChatAnthropic(model=model, base_url=url, api_key=key, max_retries=0, **{"max_tokens": 2000} | options)

    def ollama(self, model: str, key: str, **options: Any) -> BaseChatModel:
        client = {"headers": {"Authorization": f"Bearer {key}"}, **HTTP}
        chat = ChatOllama(model=model, base_url=self.gateway.url, client_kwargs=client, **options)
        self.stack.callback(chat._client.close)
        return chat


@dataclass(frozen=True)
class Way:
    """One of LangChain's models; `errors` are what its SDK raises, by status, and for a stream that breaks."""

    opener: str  # a method of Open
    bound: str  # what it calls the bound of the answer's tokens
    errors: dict[object, type[Exception]]
    bad: dict[str, Any]  # options that no translated engine can be given
    thinking: dict[str, Any]


_OPENAI_ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    503: openai.InternalServerError,
    "broken": openai.APIError,
}
_ANTHROPIC_ERRORS = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    404: anthropic.NotFoundError,
    429: anthropic.RateLimitError,
    503: anthropic.InternalServerError,
    "broken": anthropic.APIError,
}
_OLLAMA_ERRORS: dict[object, type[Exception]] = dict.fromkeys([400, 401, 404, 429, 503, "broken"], ollama.ResponseError)
_HOSTED = {"mcp_servers": [{"type": "url", "url": "https://x.example", "name": "x"}]}

WAYS = {
    "openai": Way("openai", "max_tokens", _OPENAI_ERRORS, {"n": 2}, {"reasoning_effort": "low"}),
    "responses": Way(
        "responses",
        "max_tokens",
        _OPENAI_ERRORS | {"broken": ValueError},  # LangChain's own, made of the event response.failed
        {"extra_body": {"background": True}},
        {"reasoning": {"effort": "low"}},
    ),
    "anthropic": Way(
        "anthropic",
        "max_tokens",
        _ANTHROPIC_ERRORS,
        _HOSTED,
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    "ollama": Way("ollama", "num_predict", _OLLAMA_ERRORS, {"num_predict": 2**70}, {"reasoning": True}),
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
each_model = pytest.mark.parametrize("model", MODELS)


class get_weather(pydantic.BaseModel):
    """What the sky will do."""

    city: str
    days: int


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with run_engines(tmp_path_factory.mktemp("langchain")) as engines:
        yield engines


@pytest.fixture
def gateway(engines: Engines) -> Gateway:
    return engines.gateway


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine's, which ChatAnthropic would use, and no telling LangSmith."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


def put_together(chunks: Any) -> Any:
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


def say(chat: Any, streams: bool, said: Any) -> Any:
    return put_together(chat.stream(said)) if streams else chat.invoke(said)


@each_model
@each_way
def test_an_answer_has_its_text_and_its_counts(open_chat: Open, way: Way, model: str):
    chat = open_chat(way, model, **{way.bound: 5})
    answer = chat.invoke([SystemMessage("Be brief."), HumanMessage("Hello there.")])
    assert isinstance(answer, AIMessage)
    assert answer.text.count("t") == 5
    assert answer.usage_metadata["output_tokens"] == 5
    assert answer.usage_metadata["input_tokens"] > 0


@each_model
@each_way
def test_a_stream_has_each_token_and_at_its_end_the_counts(open_chat: Open, way: Way, model: str):
    chunks = list(open_chat(way, model, **{way.bound: 5}).stream("Hello there."))
    assert len([chunk for chunk in chunks if chunk.text]) == 5
    whole = put_together(chunks)
    assert whole.usage_metadata["output_tokens"] == 5
    assert whole.usage_metadata["input_tokens"] > 0


@each_model
@each_way
@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_called_and_their_results_heard(open_chat: Open, way: Way, model: str, streams: bool):
    chat = open_chat(way, model).bind_tools([get_weather])
    said: list[Any] = [HumanMessage(CALL_TWICE)]
    first = say(chat, streams, said)
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [
        ("get_weather", ARGUMENTS),
        ("get_weather", {"city": "Rom", "days": 3}),
    ]
    said.append(first)
    results = zip(first.tool_calls, ["rain", "sun"], strict=True)
    said += [ToolMessage(result, tool_call_id=call["id"], name=call["name"]) for call, result in results]
    assert say(chat, streams, said).text == "The tools said: rain; sun"


@each_model
@each_way
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_an_answer_has_the_wanted_structure(open_chat: Open, way: Way, model: str, method: str):
    chat = open_chat(way, model).with_structured_output(get_weather, method=method)
    # A schema is followed whatever is said; a call is made because it is asked for.
    assert isinstance(chat.invoke('call:get_weather{"city": "Köln", "days": 2}'), get_weather)


# An effort alone leaves it to Claude whether it thinks, and OpenAI's dialects have no other word for it.
THINKERS = [(name, model) for name in WAYS for model in MODELS if model != CLAUDE or name in ("anthropic", "ollama")]


@pytest.mark.parametrize(("name", "model"), THINKERS)
@pytest.mark.parametrize("streams", [False, True])
def test_thinking_is_told_apart_from_the_answer(open_chat: Open, name: str, model: str, streams: bool):
    way = WAYS[name]
    answer = say(open_chat(way, model, **way.thinking), streams, "say:Yes.")
    assert answer.text == "Yes."
    thoughts = [block for block in answer.content_blocks if block["type"] == "reasoning"]
    # ChatOpenAI takes no thoughts from chats, and from responses their summaries only, which are OpenAI's own.
    assert len(thoughts) == (name != "openai")
    if name in ("anthropic", "ollama"):
        assert thoughts[0]["reasoning"].startswith("Thinking (")


@each_model
@each_way
def test_images_are_seen(open_chat: Open, way: Way, model: str):
    image = {"type": "image", "base64": PNG, "mime_type": "image/png"}
    said = HumanMessage(content_blocks=[{"type": "text", "text": "What is this?"}, image])
    assert open_chat(way, model).invoke([said]).text.startswith(f"Images: 1 ({PNG_BYTES} bytes)")


# Refusals


@each_way
def test_400_is_the_sdks_own_exception(open_chat: Open, way: Way):
    with pytest.raises(way.errors[400]):
        open_chat(way, VLLM if way.opener in ("anthropic", "ollama") else CLAUDE, **way.bad).invoke("Hello.")


@each_way
def test_401_is_the_sdks_own_exception(open_chat: Open, way: Way):
    with pytest.raises(way.errors[401]):
        open_chat(way, VLLM, "mr_unknown").invoke("Hello.")


@each_way
def test_404_is_the_sdks_own_exception(open_chat: Open, way: Way):
    with pytest.raises(way.errors[404], match="no-such-model"):
        open_chat(way, "no-such-model").invoke("Hello.")


@each_way
def test_429_is_the_sdks_own_exception(engines: Engines, open_chat: Open, way: Way):
    chat = open_chat(way, VLLM, ONCE_KEY)
    with pytest.raises(way.errors[429]):
        for _ in range(2):  # the first may pass, if no other test has used the key up
            chat.invoke("Hello.")


@each_way
@each_model
@pytest.mark.parametrize("streams", [False, True])
def test_503_is_the_sdks_own_exception(engines: Engines, open_chat: Open, way: Way, model: str, streams: bool):
    engines.break_next(model, "status_503")
    with pytest.raises(way.errors[503], match="mock fault: status_503"):
        say(open_chat(way, model), streams, "Hello.")


@each_way
@each_model
@pytest.mark.parametrize("fault", ["reset_stream", "error_event"])
def test_a_stream_that_breaks_ends_in_the_sdks_own_exception(
    engines: Engines, open_chat: Open, way: Way, model: str, fault: str
):
    engines.break_next(model, fault, after_tokens=3)
    texts: list[str] = []
    with pytest.raises(way.errors["broken"]):
        texts.extend(chunk.text for chunk in open_chat(way, model, **{way.bound: 9}).stream("Hello."))
    assert len([text for text in texts if text]) == 3
