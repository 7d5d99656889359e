"""The way of a handler to the database."""

import pytest
import trio
from sqlalchemy import text

from mrproxy.control.api.actor import Actor, ActorKind, owner
from mrproxy.control.api.call import DATABASE_SECONDS, Call, in_time
from mrproxy.control.api.problem import Problem


async def one(connection, value):
    return (await connection.execute(text(f"SELECT {value}"))).scalar_one()


async def test_a_function_gets_a_connection_and_its_arguments(home):
    call = Call(actor=owner("r"), plane=home.plane, request=None, query=None)
    assert await call.read(one, 3) == 3
    assert await call.transact(one, 4) == 4


async def test_what_belongs_to_the_transaction_is_done_in_it(home):
    seen = []

    async def also(connection):
        seen.append(await one(connection, 5))
        raise ValueError

    call = Call(actor=owner("r"), plane=home.plane, request=None, query=None, in_transaction=also)
    assert await call.read(one, 3) == 3
    with pytest.raises(ValueError):
        await call.transact(one, 4)
    assert seen == [5]


async def test_without_a_database_it_says_so(house):
    call = Call(actor=owner("r"), plane=house.plane, request=None, query=None)
    with pytest.raises(Problem) as raised:
        await call.read(one, 1)
    assert (raised.value.status, raised.value.code) == (503, "no-database")


async def test_a_database_that_does_not_answer_is_given_up(autojump_clock):
    async def forever(function):
        await trio.sleep_forever()

    with pytest.raises(Problem) as raised:
        await in_time(forever, one)
    assert raised.value.status == 503
    assert trio.current_time() == pytest.approx(DATABASE_SECONDS, abs=0.1)


async def test_who_is_no_user_has_nothing_of_its_own(house):
    with pytest.raises(Problem) as raised:
        _ = Call(actor=owner("r"), plane=house.plane, request=None, query=None).user_id
    assert raised.value.status == 403
    user = Actor(kind=ActorKind.USER, name="ada", user_id=7)
    assert Call(actor=user, plane=house.plane, request=None, query=None).user_id == 7
