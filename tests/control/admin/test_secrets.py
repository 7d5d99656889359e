"""Passwords that are set, and keys that are made."""

from dataclasses import replace

import pytest

from mrproxy.control.admin.secrets import digest_of, hashed_password, made_key
from mrproxy.control.api.call import Call
from mrproxy.control.api.problem import Problem
from mrproxy.control.signin.passwords import TooBusy
from tests.control.api.conftest import House, house

__all__ = ["house"]


def call_of(house: House) -> Call[None, None]:
    return Call(actor=house.actor, plane=house.plane, request=None, query=None)


async def test_a_key_is_found_by_its_digest_and_known_by_its_beginning(house: House) -> None:
    made = await made_key(call_of(house))
    assert made.digest == digest_of(call_of(house), made.key)
    assert made.key.startswith(made.prefix)
    assert (await house.plane.passwords.verify(made.hash, made.key)).is_right
    assert (await made_key(call_of(house))).key != made.key


async def test_a_password_that_nobody_should_have_is_refused(house: House) -> None:
    with pytest.raises(Problem) as raised:
        await hashed_password(call_of(house), "ada", "ada")
    assert raised.value.errors[0].pointer == "/password"


async def test_when_too_much_is_hashed_it_says_so(house: House) -> None:
    class Busy:
        async def hash(self, secret: str) -> str:
            raise TooBusy

    house.plane = replace(house.plane, passwords=Busy())  # type: ignore[arg-type]
    with pytest.raises(Problem) as raised:
        await made_key(call_of(house))
    assert (raised.value.status, dict(raised.value.headers)["Retry-After"]) == (503, "2")
