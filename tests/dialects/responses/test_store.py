"""The store: owners, bounds, time; whatever is put and removed, the accounts come back to zero."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.conversation import Image, Message, Role, Text, ToolResult
from mrproxy.canonical.deltas import Finish, FinishReason, TextDelta
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.responses.answers import ResponsesDocumentEncoder
from mrproxy.dialects.responses.requests import decode_request, extend
from mrproxy.dialects.responses.store import ResponseStore, StoredResponse, Turn
from tests.fuzzing import fuzz

ROOMY = 10**6


def message(text: str = "a") -> Message:
    return Message(Role.USER, (Text(text),))


def stored(name: str = "resp_1", size: int = 0, earlier: StoredResponse | None = None) -> StoredResponse:
    return StoredResponse(name, b"x" * size, (), Turn((message(name),), earlier.turn if earlier else None))


def answered(request_id: str, earlier: StoredResponse | None = None, **fields: Any) -> StoredResponse:
    """A whole round: request, answer, what is to be kept of them."""
    request = decode_request(json.dumps({"model": "m", "input": "hi"} | fields).encode())
    encoder = ResponsesDocumentEncoder(AnswerContext(request_id, "m", 1.0), request)
    encoder.send([TextDelta("hello"), Finish(FinishReason.STOP)])
    encoder.finish()
    return StoredResponse.of(request, encoder, earlier)


def test_what_was_put_is_found_by_its_owner_only() -> None:
    store = ResponseStore(9, ROOMY, 60)
    one = stored()
    assert store.put("alice", one, 0)
    assert store.get("alice", "resp_1", 1) is one
    assert store.get("bob", "resp_1", 1) is None
    assert store.get("alice", "resp_2", 1) is None
    assert not store.delete("bob", "resp_1", 1)
    assert store.delete("alice", "resp_1", 1)
    assert store.get("alice", "resp_1", 1) is None
    assert not store.delete("alice", "resp_1", 1)
    assert store.statistics() == (0, 0)


def test_two_owners_may_have_the_same_id() -> None:
    store = ResponseStore(9, ROOMY, 60)
    first, second = stored(), stored()
    store.put("alice", first, 0)
    store.put("bob", second, 0)
    assert (store.get("alice", "resp_1", 1), store.get("bob", "resp_1", 1)) == (first, second)


def test_the_same_id_again_replaces() -> None:
    store = ResponseStore(9, ROOMY, 60)
    store.put("alice", stored(size=500), 0)
    size = store.statistics().size_bytes
    store.put("alice", stored(size=500), 1)
    assert store.statistics() == (1, size)


def test_time_ends_what_was_put() -> None:
    store = ResponseStore(9, ROOMY, 60)
    store.put("alice", stored("resp_1"), 0)
    store.put("alice", stored("resp_2"), 30)
    assert store.get("alice", "resp_1", 59.9) is not None
    assert store.get("alice", "resp_1", 60) is None
    assert not store.delete("alice", "resp_1", 60)
    assert store.expire(60) == 0
    assert store.expire(89.9) == 0
    assert store.expire(90) == 1
    assert store.statistics() == (0, 0)


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    store = ResponseStore(2, ROOMY, 60)
    for number in range(4):
        store.put("alice", stored(f"resp_{number}"), number)
    assert [store.get("alice", f"resp_{number}", 4) is not None for number in range(4)] == [False, False, True, True]


def test_the_oldest_go_first_when_they_are_too_large() -> None:
    store = ResponseStore(9, 10_000, 60)
    for number in range(4):
        assert store.put("alice", stored(f"resp_{number}", 4000), number)
        assert store.statistics().size_bytes <= 10_000
    assert [store.get("alice", f"resp_{number}", 4) is not None for number in range(4)] == [False, False, True, True]


def test_what_is_larger_than_the_store_is_not_kept_and_nothing_goes_for_it() -> None:
    store = ResponseStore(9, 10_000, 60)
    small = stored("resp_1")
    store.put("alice", small, 0)
    assert not store.put("alice", stored("resp_2", 20_000), 0)
    assert store.get("alice", "resp_1", 1) is small
    assert not ResponseStore(0, ROOMY, 60).put("alice", small, 0)


def test_a_conversation_is_kept_once_and_outlives_its_earlier_responses() -> None:
    store = ResponseStore(9, ROOMY, 60)
    first = stored("resp_1")
    second = stored("resp_2", earlier=first)
    store.put("alice", first, 0)
    alone = store.statistics().size_bytes
    store.put("alice", second, 1)
    assert store.statistics().size_bytes == 2 * alone
    store.delete("alice", "resp_1", 2)
    assert alone < store.statistics().size_bytes < 2 * alone
    assert second.turn.conversation() == (message("resp_1"), message("resp_2"))
    store.delete("alice", "resp_2", 3)
    assert store.statistics() == (0, 0)


def test_a_turn_that_was_gone_counts_again_when_it_is_led_to() -> None:
    store = ResponseStore(9, ROOMY, 60)
    first = stored("resp_1")
    store.put("alice", first, 0)
    store.delete("alice", "resp_1", 0)
    store.put("alice", stored("resp_2", earlier=first), 1)
    assert store.statistics().size_bytes > first.turn.size_bytes * 2
    store.expire(100)
    assert store.statistics() == (0, 0)


def test_a_long_conversation_ends_without_recursion() -> None:
    turn = Turn(())
    for _ in range(50_000):
        turn = Turn((), turn)
    store = ResponseStore(9, 10**9, 60)
    store.put("alice", StoredResponse("resp_1", b"", (), turn), 0)
    del turn
    store.expire(60)
    assert store.statistics() == (0, 0)


def test_everything_that_takes_memory_counts() -> None:
    plain = Turn((message(),)).size_bytes
    assert Turn((message("x" * 1000),)).size_bytes > plain + 900
    assert Turn((Message(Role.USER, (Image(data="x" * 1000),)),)).size_bytes > plain + 900
    result = ToolResult("a", (Text("x" * 1000),))
    assert Turn((Message(Role.TOOL, (result,)),)).size_bytes > plain + 900
    assert stored(size=1000).size_bytes == stored().size_bytes + 1000


def test_three_rounds_remember_each_other_but_not_their_instructions() -> None:
    first = answered("r1", instructions="Be brief.")
    second = answered("r2", first, input="and?", previous_response_id="resp_r1")
    request = decode_request(b'{"model":"m","input":"so?","previous_response_id":"resp_r2"}')
    said = [part.text for said in extend(request, second.turn.conversation()).messages for part in said.parts]  # type: ignore[union-attr]
    assert said == ["hi", "hello", "and?", "hello", "so?"]
    assert json.loads(second.document)["previous_response_id"] == "resp_r1"
    assert json.loads(second.input_items[0])["content"] == [{"type": "input_text", "text": "and?"}]


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "continue", "delete", "get", "expire"]),
        st.sampled_from(["alice", "bob"]),
        st.integers(0, 5),
        st.integers(0, 3000),
    ),
    max_size=40,
)


@fuzz(50)
@given(_ACTIONS)
def test_bounds_hold_and_accounts_balance(actions: list[tuple[str, str, int, int]]) -> None:
    """Invariant: never more entries or bytes than allowed; when everything is gone, nothing is counted."""
    store = ResponseStore(4, 12_000, 10)
    made: list[StoredResponse] = []
    for now, (action, owner, number, size) in enumerate(actions):
        match action:
            case "put":
                made.append(stored(f"resp_{number}", size))
                store.put(owner, made[-1], now)
            case "continue":
                earlier = store.get(owner, f"resp_{number}", now) or (made[number] if number < len(made) else None)
                made.append(stored(f"resp_{now}", size, earlier))
                store.put(owner, made[-1], now)
            case "delete":
                store.delete(owner, f"resp_{number}", now)
            case "get":
                store.get(owner, f"resp_{number}", now)
            case _:
                store.expire(now)
        entries, size_bytes = store.statistics()
        assert entries <= 4
        assert 0 <= size_bytes <= 12_000
    store.expire(10**9)
    assert store.statistics() == (0, 0)
    assert all(one.turn.holders == 0 for one in made)
