"""The way to the database: what it raises, callers can show."""

import pytest
import trio
import trio.testing

from mrproxy.control.api.call import DATABASE_SECONDS
from mrproxy.control.api.problem import Problem
from mrproxy.control.signin.reach import Reach, is_away
from mrproxy.storage.failures import DatabaseFull, DatabaseUnavailable
from mrproxy.storage.people.errors import NotFound, Taken


class FakeStore:
    """Calls the function without a connection, or raises."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def transact(self, function):  # type: ignore[no-untyped-def]
        if self.failure is not None:
            raise self.failure
        return await function(None)

    read = transact


async def add(_: object, left: int, right: int) -> int:
    return left + right


async def test_what_the_function_returns_comes_back() -> None:
    reach = Reach(FakeStore())
    assert (await reach.read(add, 1, 2), await reach.transact(add, 3, 4)) == (3, 7)


@pytest.mark.parametrize(
    ("failure", "code", "away"),
    [
        (DatabaseUnavailable("away"), "database", True),
        (DatabaseFull("full"), "database", True),
        (NotFound("user", 1), "not-found", False),
        (Taken("name", "ada"), "conflict", False),
    ],
)
async def test_failures_are_problems(failure: Exception, code: str, away: bool) -> None:
    for call in (Reach(FakeStore(failure)).read, Reach(FakeStore(failure)).transact):
        with pytest.raises(Problem) as caught:
            await call(add, 1, 2)
        assert (caught.value.code, is_away(caught.value)) == (code, away)


async def test_without_a_database_there_is_no_way() -> None:
    with pytest.raises(Problem) as caught:
        await Reach(None).read(add, 1, 2)
    assert (caught.value.status, is_away(caught.value)) == (503, True)


async def test_a_database_that_does_not_answer_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    async def hang(_: object) -> None:
        await trio.sleep_forever()

    with pytest.raises(Problem) as caught:
        await Reach(FakeStore()).read(hang)
    assert (caught.value.code, trio.current_time()) == ("database", DATABASE_SECONDS)
