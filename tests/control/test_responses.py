"""The workers' route: theirs alone, in msgpack, with room for what others may not send."""

import pytest
import trio
from quart_trio import QuartTrio

from mrproxy.control.reports import Silent
from mrproxy.control.responses import MAX_QUESTION_BYTES, add_state
from mrproxy.control.routes import MAX_BODY_BYTES, build_app
from mrproxy.link.state import (
    PATH,
    Answer,
    AppendItems,
    DeleteConversation,
    DeleteResponse,
    Done,
    FindConversation,
    Item,
    Missing,
    Question,
    Unavailable,
    decode_answer,
    encode,
)
from tests.control.api.conftest import nothing_to_see

QUESTION = FindConversation("user:ada", "conv_1")


def app_with(answer: object) -> QuartTrio:
    return build_app(nothing_to_see, trio.Event(), state=answer)  # type: ignore[arg-type]


async def missing(question: Question) -> Answer:
    return Missing(type(question).__name__)


async def test_a_question_is_answered() -> None:
    response = await app_with(missing).test_client().post(PATH, data=encode(QUESTION))
    assert (response.status_code, response.content_type) == (200, "application/vnd.msgpack")
    assert decode_answer(await response.get_data()) == Missing("FindConversation")


async def test_without_a_database_it_is_not_available() -> None:
    response = await app_with(None).test_client().post(PATH, data=encode(QUESTION))
    assert decode_answer(await response.get_data()) == Unavailable()


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
async def test_for_those_who_come_through_the_front_door_there_is_nothing(address: str) -> None:
    async def never(question: Question) -> Answer:
        raise AssertionError("a client asked")

    client = app_with(never).test_client()
    for method in (client.post, client.get):
        response = await method(PATH, data=encode(QUESTION), headers={"X-Forwarded-For": address})
        assert response.status_code in (404, 405)
    response = await client.post(PATH, data=encode(QUESTION), headers={"x-forwarded-for": address})
    assert response.status_code == 404


async def test_what_is_no_question_is_refused() -> None:
    client = app_with(missing).test_client()
    for body in (b"", b"\xc1", b"{}", encode(Missing("x"))):
        assert (await client.post(PATH, data=body)).status_code == 400


async def test_a_worker_may_send_more_than_others() -> None:
    client = app_with(missing).test_client()
    large = encode(AppendItems("user:ada", "conv_1", (Item("a", "x" * (16 << 20)),)))
    assert MAX_BODY_BYTES < len(large) < MAX_QUESTION_BYTES
    response = await client.post(PATH, data=large)
    assert decode_answer(await response.get_data()) == Missing("AppendItems")
    assert (await client.post(PATH, data=large, headers={"X-Forwarded-For": "::1"})).status_code in (404, 413)
    assert (await client.post(PATH, data=large + b"x" * (2 << 20))).status_code == 413


async def test_it_is_added_to_any_app() -> None:
    app = QuartTrio("bare")
    add_state(app, missing)
    assert (await app.test_client().post(PATH, data=encode(QUESTION))).status_code == 200


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_deletion_is_told_to_every_worker_and_waits_for_none_that_hangs(*, hangs: bool) -> None:
    told: list[tuple[str, str]] = []

    async def tell(method: str, path: str) -> dict[str, "bytes | Silent"]:
        told.append((method, path))
        await (trio.sleep_forever() if hangs else trio.lowlevel.checkpoint())
        return {}

    async def done(question: Question) -> Answer:
        return Missing("response") if question.owner == "user:bob" else Done()

    app = QuartTrio("bare")
    add_state(app, done, tell)
    client = app.test_client()
    for question in (
        DeleteResponse("user:bob", "resp_1"),
        DeleteConversation("user:ada", "conv_1"),
        DeleteResponse("user:ada/ü", "resp_1"),
    ):
        with trio.fail_after(15):
            assert (await client.post(PATH, data=encode(question))).status_code == 200
    assert told == [("DELETE", "/responses/user%3Aada%2F%C3%BC/resp_1")]
