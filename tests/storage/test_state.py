"""Questions of workers: answered from the tables, for the owner alone, in time, whatever the database does."""

import json

import pytest
import trio
from trio.testing import MockClock

from mrproxy.link.state import (
    ANSWER_SECONDS,
    Answer,
    AppendItems,
    ChangeConversation,
    Clash,
    Conversation,
    CreateConversation,
    DeleteConversation,
    DeleteItem,
    DeleteResponse,
    Done,
    FindConversation,
    FindItem,
    FindResponse,
    Item,
    Items,
    ListItems,
    Missing,
    Question,
    ReadItems,
    States,
    TooLarge,
    Unavailable,
)
from mrproxy.storage import state
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.responses import store_responses
from mrproxy.storage.state import StateKeeper
from mrproxy.storage.urls import Location
from tests.storage.conftest import opened
from tests.storage.test_responses import event

ADA, BOB = "user:ada", "user:bob"
NO_CONVERSATION, NO_ITEM = Missing("conversation"), Missing("item")
ITEMS = tuple(Item(name, json.dumps({"id": name})) for name in "abc")


async def at_once() -> None:
    pass


@pytest.fixture
async def keeper(database: Database) -> StateKeeper:
    await database.transact(store_responses, [event("r1"), event("r2", "r1")])
    return StateKeeper(database, at_once, lambda: 50.0, 1000.0)


async def ask(keeper: StateKeeper, *questions: Question) -> list[Answer]:
    return [await keeper.answer(question) for question in questions]


async def test_responses_are_found_and_deleted_by_their_owner(keeper: StateKeeper) -> None:
    whole, alone = await ask(keeper, FindResponse(ADA, "r2", True), FindResponse(ADA, "r2", False))
    assert isinstance(whole, States)
    assert isinstance(alone, States)
    assert (len(whole.states), len(alone.states)) == (2, 1)
    nothing = Missing("response")
    assert await ask(
        keeper,
        FindResponse(BOB, "r2", True),
        DeleteResponse(BOB, "r2"),
        DeleteResponse(ADA, "r2"),
        DeleteResponse(ADA, "r2"),
        FindResponse(ADA, "r2", False),
    ) == [nothing, nothing, Done(), nothing, nothing]


async def test_a_conversation_from_its_making_to_its_end(keeper: StateKeeper) -> None:
    made = Conversation("conv", 50.0, '{"a":"b"}')
    changed = Conversation("conv", 50.0, "{}")
    assert await ask(
        keeper,
        CreateConversation(ADA, "conv", '{"a":"b"}', ITEMS[:1]),
        FindConversation(ADA, "conv"),
        AppendItems(ADA, "conv", ITEMS[1:]),
        AppendItems(ADA, "conv", ITEMS[:1]),
        ListItems(ADA, "conv", 2, True, None),
        ListItems(ADA, "conv", 2, False, "c"),
        ListItems(ADA, "conv", 2, True, "x"),
        ReadItems(ADA, "conv"),
        FindItem(ADA, "conv", "b"),
        FindItem(ADA, "conv", "x"),
        DeleteItem(ADA, "conv", "b"),
        DeleteItem(ADA, "conv", "b"),
        ChangeConversation(ADA, "conv", "{}"),
        ReadItems(ADA, "conv"),
        DeleteConversation(ADA, "conv"),
        FindConversation(ADA, "conv"),
    ) == [
        made,
        made,
        Items(ITEMS[1:]),
        Clash("a"),
        Items(ITEMS[:2], True),
        Items((ITEMS[1], ITEMS[0])),
        NO_ITEM,
        Items(ITEMS),
        Items(ITEMS[1:2]),
        NO_ITEM,
        made,
        NO_ITEM,
        changed,
        Items((ITEMS[0], ITEMS[2])),
        Done(),
        NO_CONVERSATION,
    ]


async def test_somebody_elses_conversation_does_not_exist(keeper: StateKeeper) -> None:
    await keeper.answer(CreateConversation(ADA, "conv", "{}", ITEMS))
    answers = await ask(
        keeper,
        FindConversation(BOB, "conv"),
        ChangeConversation(BOB, "conv", '{"x":"y"}'),
        DeleteConversation(BOB, "conv"),
        AppendItems(BOB, "conv", (Item("x", "{}"),)),
        ListItems(BOB, "conv", 9, True, None),
        ReadItems(BOB, "conv"),
        FindItem(BOB, "conv", "a"),
        DeleteItem(BOB, "conv", "a"),
    )
    assert answers == [NO_CONVERSATION] * 8
    assert await keeper.answer(ReadItems(ADA, "conv")) == Items(ITEMS)


async def test_what_is_too_large_is_said_to_be(keeper: StateKeeper, monkeypatch) -> None:
    await keeper.answer(CreateConversation(ADA, "conv", "{}", ITEMS))
    monkeypatch.setattr(state, "MAX_STATE_BYTES", 10)
    assert await ask(keeper, ReadItems(ADA, "conv"), FindResponse(ADA, "r2", True)) == [TooLarge(), TooLarge()]


async def test_two_items_of_one_id_at_once_are_refused_whole(keeper: StateKeeper) -> None:
    await keeper.answer(CreateConversation(ADA, "conv", "{}", ITEMS[:1]))
    assert await keeper.answer(AppendItems(ADA, "conv", (ITEMS[1], ITEMS[0]))) == Clash("a")
    assert await keeper.answer(ReadItems(ADA, "conv")) == Items(ITEMS[:1])


async def unavailable() -> None:
    raise DatabaseUnavailable("nobody answers")


async def test_a_database_that_is_away_is_an_answer() -> None:
    keeper = StateKeeper(None, unavailable, lambda: 50.0, 1000.0)  # type: ignore[arg-type]
    assert await keeper.answer(FindConversation(ADA, "conv")) == Unavailable()


async def test_a_database_that_hangs_is_an_answer_in_time(autojump_clock: MockClock) -> None:
    keeper = StateKeeper(None, trio.sleep_forever, lambda: 50.0, 1000.0)  # type: ignore[arg-type]
    began_at = trio.current_time()
    assert await keeper.answer(DeleteResponse(ADA, "r1")) == Unavailable()
    assert trio.current_time() - began_at == ANSWER_SECONDS


async def test_a_database_without_tables_is_an_answer(location: Location) -> None:
    async with opened(location) as database:
        keeper = StateKeeper(database, at_once, lambda: 50.0, 1000.0)
        assert await ask(keeper, ReadItems(ADA, "conv"), DeleteItem(ADA, "conv", "a")) == [Unavailable(), Unavailable()]
