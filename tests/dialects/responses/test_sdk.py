"""The `openai` SDK against our answers, without a network: create, stream, parse, retrieve, delete, list."""

from collections.abc import Iterator, Sequence

import httpx2
import openai
import pytest
from openai.types.responses import FunctionToolParam
from pydantic import BaseModel

from mrproxy.canonical.conversation import Message, Role, Text
from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.openai import OPENAI
from mrproxy.dialects.responses.answers import ResponsesDocumentEncoder, ResponsesStreamEncoder
from mrproxy.dialects.responses.listing import (
    decode_page,
    encode_deletion,
    encode_input_items,
    find_item,
    not_found,
    require_plain,
)
from mrproxy.dialects.responses.requests import decode_request, extend, previous_not_found
from mrproxy.dialects.responses.store import ResponseStore, StoredResponse
from mrproxy.errors import ProxyError

ANSWER: Sequence[Delta] = (
    Begin(),
    ThinkingDelta("hm"),
    TextDelta('{"city": '),
    TextDelta('"Oslo"}'),
    ToolCallBegin(0, "call_1", "weather"),
    ToolCallArguments(0, '{"city":'),
    ToolCallArguments(0, '"Oslo"}'),
    Finish(FinishReason.TOOL_CALLS),
    Report(TokenReport(7, 5, reasoning_tokens=1)),
    End(),
)
TOOL: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


class City(BaseModel):
    city: str


class Server:
    """As small as a server of this API can be: one owner, one answer to everything."""

    def __init__(self) -> None:
        self.answer = ANSWER
        self.store = ResponseStore(9, 10**6, 60)
        self.chats: list[tuple[Message, ...]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/v1/responses").strip("/")
        try:
            body = self._create(request.content) if not path else self._tell(request, path)
        except ProxyError as error:
            return httpx2.Response(error.status, content=OPENAI.encode_error(error, b"r"))
        is_stream = body.startswith(b"event:")
        return httpx2.Response(
            200, content=body, headers={"content-type": "text/event-stream" if is_stream else "application/json"}
        )

    def _tell(self, request: httpx2.Request, path: str) -> bytes:
        name, _, rest = path.partition("/")
        query = request.url.query.decode()
        stored = self.store.get("me", name, 0)
        if stored is None:
            raise not_found(name)
        if request.method == "DELETE":
            self.store.delete("me", name, 0)
            return encode_deletion(name)
        require_plain(query)
        return encode_input_items(stored, decode_page(query)) if rest else stored.document

    def _create(self, body: bytes) -> bytes:
        request = decode_request(body, lambda item_id: find_item(self.store, "me", item_id, 0))
        earlier, chat = None, request.chat
        if request.previous_response_id is not None:
            earlier = self.store.get("me", request.previous_response_id, 0)
            if earlier is None:
                raise previous_not_found(request.previous_response_id)
            chat = extend(request, earlier.turn.conversation())
        self.chats.append(chat.messages)
        kind = ResponsesStreamEncoder if chat.streams else ResponsesDocumentEncoder
        encoder = kind(AnswerContext(f"r-{len(self.chats)}", chat.model, 1.0), request)
        out = b"".join(encoder.send([delta]) for delta in self.answer)
        if encoder.failure is not None:
            assert isinstance(encoder, ResponsesStreamEncoder)
            return out + encoder.fail(encoder.failure)
        out += encoder.finish()
        if request.store:
            self.store.put("me", StoredResponse.of(request, encoder, earlier), 0)
        return out


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    http = httpx2.Client(transport=httpx2.MockTransport(server))
    with openai.OpenAI(api_key="k", base_url="http://test/v1", http_client=http, max_retries=0) as made:
        yield made


def test_create_gives_text_reasoning_calls_and_usage(client: openai.OpenAI) -> None:
    response = client.responses.create(model="m", input="hi", tools=[TOOL])
    assert response.output_text == '{"city": "Oslo"}'
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert response.status == "completed"
    assert response.usage is not None
    assert response.usage.to_dict() == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 12,
    }


def test_parse_gives_the_object_and_the_arguments(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model="m", input="hi", text_format=City, tools=[TOOL])
    assert parsed.output_parsed == City(city="Oslo")
    (call,) = [item for item in parsed.output if item.type == "function_call"]
    assert call.parsed_arguments == {"city": "Oslo"}


def test_the_stream_helper_accumulates_the_same(client: openai.OpenAI) -> None:
    with client.responses.stream(model="m", input="hi", text_format=City, tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_parsed == City(city="Oslo")
    assert final.to_dict() == {**client.responses.retrieve(final.id).to_dict(), **final.to_dict()}


def test_raw_events_are_typed(client: openai.OpenAI) -> None:
    texts = ""
    for event in client.responses.create(model="m", input="hi", stream=True):
        if event.type == "response.output_text.delta":
            texts += event.delta
    assert texts == '{"city": "Oslo"}'


def test_a_stream_that_breaks_off_raises(client: openai.OpenAI, server: Server) -> None:
    server.answer = (TextDelta("Hel"), Failure("the engine's answer ended early"))
    kinds: list[str] = []
    with pytest.raises(openai.APIError, match="ended early"):
        kinds.extend(event.type for event in client.responses.create(model="m", input="hi", stream=True))
    assert kinds[-2:] == ["response.output_text.delta", "response.failed"]


def test_an_answer_that_was_cut_is_incomplete(client: openai.OpenAI, server: Server) -> None:
    server.answer = (TextDelta("Hel"), Finish(FinishReason.LENGTH), End())
    with client.responses.stream(model="m", input="hi") as stream:
        assert [event.type for event in stream][-1] == "response.incomplete"
    response = client.responses.create(model="m", input="hi")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_conversation_goes_on_by_id(client: openai.OpenAI, server: Server) -> None:
    first = client.responses.create(model="m", input="weather?", instructions="Be brief.", tools=[TOOL])
    result = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    client.responses.create(model="m", input=[result], previous_response_id=first.id)  # type: ignore[list-item]
    system, user, assistant = server.chats[0][0], server.chats[0][1], server.chats[1][1]
    assert system == Message(Role.SYSTEM, (Text("Be brief."),))
    assert server.chats[1][0] == user
    assert assistant.role is Role.ASSISTANT
    assert [message.role for message in server.chats[1]] == [Role.USER, Role.ASSISTANT, Role.TOOL]


def test_a_conversation_goes_on_by_its_items(client: openai.OpenAI, server: Server) -> None:
    first = client.responses.create(model="m", input="weather?")
    items = [{"role": "user", "content": "weather?"}, *(item.to_dict() for item in first.output)]
    result = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    client.responses.create(model="m", input=[*items, result])  # type: ignore[list-item]
    client.responses.create(model="m", input=[result], previous_response_id=first.id)  # type: ignore[list-item]
    assert server.chats[1] == server.chats[2]


def test_what_is_unknown_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="m", input="hi", previous_response_id="resp_other")
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_other")


def test_stored_responses_are_retrieved_listed_and_deleted(client: openai.OpenAI) -> None:
    made = client.responses.create(model="m", input=[{"role": "user", "content": str(number)} for number in range(5)])
    assert client.responses.retrieve(made.id).to_dict() == made.to_dict()
    pages = client.responses.input_items.list(made.id, limit=2, order="asc")
    assert [item.to_dict()["content"] for item in pages] == [
        [{"type": "input_text", "text": str(number)}] for number in range(5)
    ]
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_what_is_not_to_be_stored_is_not(client: openai.OpenAI) -> None:
    made = client.responses.create(model="m", input="hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
