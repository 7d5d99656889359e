"""Sessions in the table: what is kept of them, and what one look costs."""

import pytest
from werkzeug.datastructures import Headers

from mrproxy.control.signin.sessions import RECENT_SECONDS, TOUCH_SECONDS
from mrproxy.control.signin.visitor import visitor_of
from mrproxy.storage.people.values import User
from tests.control.signin.conftest import House

pytestmark = pytest.mark.slow


async def opened(house: House, user: User, kind: str = "cookie"):  # type: ignore[no-untyped-def]
    sessions = house.parts.session_api.sign_in.sessions
    visitor = visitor_of(Headers({"X-Forwarded-For": "192.0.2.1", "User-Agent": "x" * 1000}), sessions.keys, "never")
    return await sessions.reach.transact(sessions.open, user, kind, visitor)


async def test_the_table_holds_nothing_to_sign_in_with(house: House, ada: User) -> None:
    made = await opened(house, ada)
    (row,) = await house.rows("SELECT * FROM sessions")
    assert made.token not in str(row)
    assert (row.id, row.address, len(row.user_agent)) == (made.session.id, "192.0.2.1", 300)


async def test_a_session_is_found_as_what_it_is(house: House, ada: User) -> None:
    sessions = house.parts.session_api.sign_in.sessions
    cookie, token = await opened(house, ada), await opened(house, ada, "token")
    assert await sessions.find(cookie.session.id, "cookie") is not None
    assert await sessions.find(cookie.session.id, "token") is None
    assert await sessions.find(token.session.id, "cookie") is None
    assert await sessions.find("none", "cookie") is None


async def test_that_it_is_used_is_written_once_a_minute(house: House, ada: User) -> None:
    sessions = house.parts.session_api.sign_in.sessions
    made, began = await opened(house, ada), house.clock.now_utc
    for seconds, seen in ((1, 0), (TOUCH_SECONDS, 0), (TOUCH_SECONDS + 1, TOUCH_SECONDS + 1)):
        house.clock.now_utc = began + seconds
        await sessions.find(made.session.id, "cookie")
        (row,) = await house.rows("SELECT seen_utc FROM sessions")
        assert row.seen_utc == began + seen


async def test_a_database_that_cannot_be_written_signs_nobody_out(house: House, ada: User) -> None:
    sessions = house.parts.session_api.sign_in.sessions
    made = await opened(house, ada)
    house.clock.now_utc += TOUCH_SECONDS + 1
    house.store.is_read_only = True
    assert await sessions.find(made.session.id, "cookie") is not None


async def test_who_has_just_signed_in_is_recent(house: House, ada: User) -> None:
    sessions = house.parts.session_api.sign_in.sessions
    made = await opened(house, ada)
    house.clock.now_utc += RECENT_SECONDS
    assert sessions.is_recent(made.session)
    house.clock.now_utc += 1
    assert not sessions.is_recent(made.session)


async def test_a_closed_session_is_not_found(house: House, ada: User) -> None:
    sessions = house.parts.session_api.sign_in.sessions
    made = await opened(house, ada)
    assert await sessions.close(made.session.id)
    assert await sessions.find(made.session.id, "cookie") is None
    assert not await sessions.close(made.session.id)
