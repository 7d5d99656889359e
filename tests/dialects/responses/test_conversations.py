"""Conversations: what may be asked, what is kept, what is told of it, judged by the SDK's types."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.conversations import Conversation as SdkConversation
from openai.types.conversations import (
    ConversationDeletedResource,
    ConversationItem,
    ConversationItemList,
    conversation_create_params,
    item_create_params,
)
from pydantic import TypeAdapter

from mrproxy.canonical.conversation import Message, Role, Text, Thinking, ToolCall
from mrproxy.dialects.responses.conversations import (
    MAX_ITEMS,
    conversation_not_found,
    decode_create,
    decode_include,
    decode_items,
    decode_update,
    encode_conversation,
    encode_deleted,
    encode_item,
    encode_items,
    is_conversation_id,
    is_item_id,
    item_exists,
    item_not_found,
    items_of_answer,
    messages_of,
)
from mrproxy.dialects.responses.documents import FunctionCallItem, MessageItem, OutputText, ReasoningItem, ReasoningText
from mrproxy.errors import ClientError
from mrproxy.link.state import Conversation, Item, Items
from tests.dialects.responses.test_listing import ITEMS
from tests.fuzzing import fuzz, mutated

STEM = "0" * 32
USER = {"role": "user", "content": "hi"}
_list = TypeAdapter(ConversationItemList)
_item: TypeAdapter[ConversationItem] = TypeAdapter(ConversationItem)


def find_nothing(item_id: str) -> None:
    return None


def items_of(*given: dict[str, Any]) -> tuple[Item, ...]:
    return decode_items(json.dumps({"items": given}).encode(), STEM, find_nothing)


def refused(body: Any) -> ClientError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ClientError) as caught:
        decode_create(raw, STEM, find_nothing)
    return caught.value


def test_a_conversation_may_begin_with_nothing() -> None:
    assert decode_create(b"", STEM, find_nothing) == ("{}", ())
    assert decode_create(b'{"metadata":null,"items":null}', STEM, find_nothing) == ("{}", ())


def test_every_field_of_the_sdk_is_known() -> None:
    assert set(conversation_create_params.ConversationCreateParams.__annotations__) == {"items", "metadata"}
    assert set(item_create_params.ItemCreateParams.__annotations__) == {"items", "include"}  # the latter in the query


def test_items_get_what_the_api_promises_of_them() -> None:
    found = items_of(*ITEMS)
    for item in found:
        _item.validate_json(item.json, strict=True)
    listed = json.loads(encode_items(Items(found), shows_sealed=True))
    _list.validate_python(listed)
    assert (listed["first_id"], listed["last_id"]) == (found[0].id, found[-1].id)
    assert found[0].id == f"msg_{STEM}_i0"
    assert found[3].id == "msg_mine"


def test_an_empty_list_has_no_ends() -> None:
    listed = json.loads(encode_items(Items(()), shows_sealed=False))
    assert listed == {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}


def test_a_reference_is_resolved_when_it_is_added() -> None:
    raw = msgspec.Raw(json.dumps({"id": "msg_x", "type": "message", **USER}).encode())
    body = b'{"items":[{"type":"item_reference","id":"msg_x"}]}'
    (item,) = decode_items(body, STEM, lambda item_id: raw if item_id == "msg_x" else None)
    assert (item.id, json.loads(item.json)["content"][0]["text"]) == ("msg_x", "hi")
    with pytest.raises(ClientError, match="msg_x"):
        decode_items(body, STEM, find_nothing)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": "hi"}, "items"),
        ({"items": [USER] * (MAX_ITEMS + 1)}, "items"),
        ({"items": [{"type": "web_search_call", "id": "x"}]}, "items[0].type"),
        ({"items": [USER, {"role": "user"}]}, "items[1].content"),
        ({"items": [{"type": "message", "id": "a b", **USER}]}, "items[0].id"),
        ({"items": [{"type": "message", "id": "a", **USER}] * 2}, "items[1].id"),
        ({"items": [{"type": "message", "id": "a\0", **USER}]}, "items[0].id"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"name": "x"}, "name"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(body: dict[str, Any], param: str) -> None:
    error = refused(body)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b'{"metadata":{"a":"\\ud800"}}'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    assert refused(body).status == 400


def test_an_update_and_an_addition_say_what_they_need() -> None:
    assert json.loads(decode_update('{"metadata":{"ключ":"значение"}}'.encode())) == {"ключ": "значение"}
    assert decode_update(b'{"metadata":null}') == "{}"
    for decode in (decode_update, lambda body: decode_items(body, STEM, find_nothing)):
        with pytest.raises(ClientError):
            decode(b"{}")
    with pytest.raises(ClientError):
        decode_items(b'{"items":[]}', STEM, find_nothing)


def test_a_response_adds_its_input_and_its_output() -> None:
    output = [ReasoningItem("rs_1", "completed", [ReasoningText("hm")], "signature.s"),
              MessageItem("msg_1", "completed", [OutputText("hello")]),
              FunctionCallItem("fc_1", "incomplete", "call_1", "f", '{"a')]  # fmt: skip
    given = [json.dumps(USER).encode(), json.dumps({"type": "message", "id": "a\0b", **USER}).encode()]
    items = items_of_answer(given, output, STEM)
    assert [item.id for item in items] == [f"msg_{STEM}_i0", f"item_{STEM}_i1", "rs_1", "msg_1", "fc_1"]
    assert all(is_item_id(item.id) and json.loads(item.json)["id"] == item.id for item in items)
    hi = Message(Role.USER, (Text("hi"),))
    assert messages_of(items) == (hi, hi, Message(Role.ASSISTANT, (Thinking("hm", "s"), Text("hello"))))


def test_a_whole_call_is_told_to_the_model() -> None:
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    (message,) = messages_of(items_of(call))
    assert message.parts == (ToolCall("a", "f", "{}"),)


def test_sealed_reasoning_is_shown_to_those_who_ask() -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "signature.s"}
    (item,) = items_of(sealed)
    for shows in (False, True):
        for document in (
            json.loads(encode_item(item, shows_sealed=shows)),
            json.loads(encode_items(Items((item,)), shows_sealed=shows))["data"][0],
        ):
            assert ("encrypted_content" in document) is shows
            _item.validate_python(document)
    assert decode_include("include[]=reasoning.encrypted_content")
    assert decode_include("include=x&include=reasoning.encrypted_content")
    assert not decode_include("include[]=message.output_text.logprobs")


def test_a_word_in_a_text_is_not_taken_for_sealed_reasoning() -> None:
    (item,) = items_of({"role": "user", "content": '"encrypted_content"'})
    assert json.loads(encode_item(item, shows_sealed=False)) == json.loads(item.json)


def test_documents_are_the_sdks() -> None:
    document = json.loads(encode_conversation(Conversation("conv_1", 12.9, '{"a":"b"}')))
    assert document == {"id": "conv_1", "object": "conversation", "created_at": 12, "metadata": {"a": "b"}}
    SdkConversation.model_validate(document, strict=True)
    ConversationDeletedResource.model_validate_json(encode_deleted("conv_1"), strict=True)


def test_ids_are_of_one_form() -> None:
    assert is_conversation_id(f"conv_{STEM}")
    for wrong in ("", "conv_1", f"conv_{STEM}\n", f"conv_{STEM}0", "\0"):
        assert not is_conversation_id(wrong)
    assert not is_item_id("")
    assert not is_item_id("a" * 129)


def test_what_is_not_there_is_404_and_what_is_there_already_400() -> None:
    assert [error.status for error in (conversation_not_found("x"), item_not_found("x", "y"), item_exists("x"))] == [
        404,
        404,
        400,
    ]


EXAMPLES = [json.dumps({"items": ITEMS, "metadata": {"a": "b"}}).encode(), json.dumps({"items": [USER]}).encode()]
SNIPPETS = [b'"', b"\\u0000", b"\xff", b"null", b"[", b"{}", b'"id":"x",', "ü".encode(), b"1e999"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["type", "id", "role", "content", "text", "call_id", "output", "summary", "status"]), inner, max_size=5),
    max_leaves=10,
)  # fmt: skip


def survives(body: bytes) -> None:
    """Invariant: refused as the caller's mistake, or kept as the SDK knows items, and a model can be told of it."""
    try:
        _, items = decode_create(body, STEM, find_nothing)
    except ClientError:
        return
    json.loads(encode_items(Items(items), shows_sealed=False))
    messages_of(items)
    assert all(is_item_id(item.id) for item in items)
    assert len({item.id for item in items}) == len(items)


@fuzz(30)
@given(mutated(EXAMPLES, SNIPPETS))
def test_mutated_bodies_are_kept_whole_or_refused(body: bytes) -> None:
    survives(body)


@fuzz(30)
@given(st.lists(JSON, max_size=4))
def test_items_of_any_shape_are_kept_whole_or_refused(items: list[Any]) -> None:
    survives(json.dumps({"items": items}).encode())
