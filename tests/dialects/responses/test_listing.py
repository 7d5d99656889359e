"""What is told of stored responses, judged by the SDK's types."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseItem
from openai.types.responses.response_item_list import ResponseItemList
from pydantic import TypeAdapter

from mrproxy.canonical.conversation import Message, Role, Text, Thinking, ToolCall
from mrproxy.dialects.responses.listing import (
    Page,
    decode_page,
    encode_deletion,
    encode_input_items,
    find_item,
    input_items,
    not_found,
    require_plain,
)
from mrproxy.dialects.responses.requests import decode_request
from mrproxy.dialects.responses.store import ResponseStore, StoredResponse, Turn
from mrproxy.errors import ClientError
from tests.fuzzing import fuzz

_list = TypeAdapter(ResponseItemList)
_item: TypeAdapter[ResponseItem] = TypeAdapter(ResponseItem)

ITEMS: list[dict[str, Any]] = [
    {"role": "user", "content": "hi"},
    {"role": "user", "content": [
        {"type": "input_image", "image_url": "https://x/y.png"}, {"type": "text", "text": "a"}]},
    {"role": "assistant", "content": "hello"},
    {"type": "message", "id": "msg_mine", "role": "assistant", "status": "incomplete", "content": [
        {"type": "input_text", "text": "so"}, {"type": "refusal", "refusal": "no"}]},
    {"type": "reasoning", "id": "rs_mine", "summary": []},
    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": "1"},
]  # fmt: skip
OUTPUT: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs_r1_0", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
    {"type": "function_call", "id": "fc_r1_1", "call_id": "b", "name": "g", "arguments": "{}"},
]


def stored(items: list[dict[str, Any]]) -> StoredResponse:
    document = json.dumps({"id": "resp_r1", "output": OUTPUT}).encode()
    return StoredResponse("resp_r1", document, tuple(json.dumps(item).encode() for item in items), Turn(()))


def listed(page: Page, items: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_input_items(stored(ITEMS if items is None else items), page))
    return found


def test_items_are_listed_newest_first_and_are_the_sdks() -> None:
    found = listed(Page())
    checked = _list.validate_python(found)
    assert [item.type for item in checked.data] == [
        *("function_call_output", "function_call", "reasoning", "message", "message", "message", "message")
    ]
    assert (found["object"], found["has_more"]) == ("list", False)
    assert (found["first_id"], found["last_id"]) == ("fco_r1_i6", "msg_r1_i0")
    assert [item["id"] for item in listed(Page(is_ascending=True))["data"]] == [
        *("msg_r1_i0", "msg_r1_i1", "msg_r1_i2", "msg_mine", "rs_mine", "fc_r1_i5", "fco_r1_i6")
    ]


def test_content_is_always_parts_of_the_right_kind() -> None:
    first, second, third, fourth, *_ = listed(Page(is_ascending=True))["data"]
    assert first["content"] == [{"type": "input_text", "text": "hi"}]
    assert second["content"] == [
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
        {"type": "input_text", "text": "a"},
    ]
    assert third["content"] == [{"type": "output_text", "text": "hello", "annotations": []}]
    assert fourth["content"][0] == {"type": "output_text", "text": "so", "annotations": []}
    assert (third["status"], fourth["status"]) == ("completed", "incomplete")


def test_pages_follow_each_other() -> None:
    seen, after = [], None
    while True:
        page = listed(Page(3, True, after))
        seen += [item["id"] for item in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen == [item["id"] for item in listed(Page(100, True))["data"]]


def test_an_empty_list_is_a_list() -> None:
    _list.validate_python(listed(Page(), []))
    assert listed(Page(), [])["data"] == []


def test_an_unknown_item_to_begin_after_is_refused() -> None:
    with pytest.raises(ClientError) as caught:
        listed(Page(after="msg_other"))
    assert caught.value.param == "after"


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("", Page()),
        ("limit=5&order=asc&after=msg_1", Page(5, True, "msg_1")),
        ("order=desc&include[]=x", Page()),
        ("limit=100", Page(100)),
    ],
)
def test_a_query_says_which_page(query: str, page: Page) -> None:
    assert decode_page(query) == page


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=٣", "limit=1e1", "order=up"])
def test_a_wrong_query_is_refused(query: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode_page(query)
    assert caught.value.param == query.partition("=")[0]


@fuzz(30)
@given(st.text(max_size=40))
def test_any_query_is_a_page_or_refused(query: str) -> None:
    try:
        page = decode_page(query)
    except ClientError:
        return
    assert 1 <= page.limit <= 100


def test_a_stored_response_is_not_streamed() -> None:
    require_plain("")
    require_plain("stream=false&include[]=x")
    with pytest.raises(ClientError) as caught:
        require_plain("stream=true")
    assert caught.value.param == "stream"


def test_a_deletion_says_what_is_gone() -> None:
    assert json.loads(encode_deletion("resp_1")) == {"id": "resp_1", "object": "response", "deleted": True}


def test_what_is_not_there_is_404() -> None:
    assert not_found("resp_1").status == 404


def test_items_are_found_by_their_ids_for_their_owner_only() -> None:
    store = ResponseStore(9, 10**6, 60)
    store.put("alice", stored(ITEMS), 0)
    for item in [*OUTPUT, *input_items(stored(ITEMS))]:
        name = str(item["id"])
        found = find_item(store, "alice", name, 1)
        is_ours = "_r1_" in name
        assert (found is not None) is is_ours
        assert found is None or json.loads(bytes(found))["id"] == name
        assert find_item(store, "bob", name, 1) is None
        assert find_item(store, "alice", name, 61) is None
    for name in ("msg_r1_9", "msg_r2_0", "x_r1_0", "msg", "", "rs_r1_i0"):
        assert find_item(store, "alice", name, 1) is None


def test_a_request_may_refer_to_output_of_before() -> None:
    store = ResponseStore(9, 10**6, 60)
    store.put("alice", stored([]), 0)
    items = [{"role": "user", "content": "x"}, *({"type": "item_reference", "id": item["id"]} for item in OUTPUT)]
    body = json.dumps({"model": "m", "input": items}).encode()
    request = decode_request(body, lambda item_id: find_item(store, "alice", item_id, 1))
    assert request.chat.messages == (
        Message(Role.USER, (Text("x"),)),
        Message(Role.ASSISTANT, (Thinking("hm"), ToolCall("b", "g", "{}"))),
    )


def test_what_nobody_reads_is_listed_as_it_was_sent() -> None:
    """A number that no double holds is JSON."""
    odd = b'{"role":"user","content":[{"type":"input_text","text":"a"}],"n":1e999}'
    kept = StoredResponse("resp_r1", b"{}", (odd,), Turn(()))
    assert b'"n":1e999' in encode_input_items(kept, Page())
