"""Hashing: what is stored, what is verified, and that the work is the same whoever asks."""

import threading

import pytest
import trio
import trio.testing
from argon2 import Parameters, PasswordHasher, extract_parameters
from argon2.low_level import Type

from mrproxy.control.signin import passwords as module
from mrproxy.control.signin.passwords import PARAMETERS, Passwords, TooBusy, Verdict

CHEAP = Parameters(Type.ID, 19, 16, 32, time_cost=1, memory_cost=64, parallelism=1)
RIGHT, WRONG = "correct horse", "wrong horse!!"


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(CHEAP)


@pytest.mark.slow
async def test_what_is_stored_is_argon2id_with_the_parameters_of_the_docstring() -> None:
    stored = await Passwords().hash(RIGHT)
    assert stored.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    assert extract_parameters(stored) == PARAMETERS
    assert RIGHT not in stored


async def test_the_right_password_is_right_and_another_is_not(passwords: Passwords) -> None:
    stored = await passwords.hash(RIGHT)
    assert await passwords.verify(stored, RIGHT) == Verdict(True)
    assert await passwords.verify(stored, WRONG) == Verdict(False)


async def test_the_same_password_is_stored_differently_each_time(passwords: Passwords) -> None:
    assert await passwords.hash(RIGHT) != await passwords.hash(RIGHT)


async def test_a_password_may_be_composed_in_another_way(passwords: Passwords) -> None:
    stored = await passwords.hash("\u212bngstr\u00f6m und mehr")
    assert (await passwords.verify(stored, "A\u030angstro\u0308m und mehr")).is_right


async def test_a_hash_with_other_parameters_is_verified_and_made_anew(passwords: Passwords) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=32, parallelism=1).hash(RIGHT)
    verdict = await passwords.verify(old, RIGHT)
    assert verdict.is_right
    assert verdict.new_hash is not None
    assert extract_parameters(verdict.new_hash) == CHEAP
    assert await passwords.verify(verdict.new_hash, RIGHT) == Verdict(True)
    assert await passwords.verify(old, WRONG) == Verdict(False)


@pytest.mark.parametrize("stored", ["", "$argon2id$", "plain", "$2b$12$" + "a" * 53, "\udcff"])
async def test_a_stored_text_that_is_no_hash_is_never_right(passwords: Passwords, stored: str) -> None:
    assert await passwords.verify(stored, RIGHT) == Verdict(False)


async def test_nobody_costs_one_verification_as_everybody_does(passwords: Passwords) -> None:
    stored = await passwords.hash(RIGHT)
    for given in (stored, None):
        for password in (RIGHT, WRONG, "x" * 5000):
            before = passwords.verifications
            await passwords.verify(given, password)
            assert passwords.verifications == before + 1


async def test_nobodys_password_lets_nobody_in(passwords: Passwords) -> None:
    assert await passwords.verify(None, "nobody's password") == Verdict(False)


async def test_only_a_few_are_hashed_at_a_time_and_a_crowd_is_sent_away() -> None:
    passwords = GatedPasswords(CHEAP)
    refused = []

    async def sign_in() -> None:
        try:
            await passwords.verify(None, WRONG)
        except TooBusy:
            refused.append(1)

    async with trio.open_nursery() as nursery:
        for _ in range(module.AT_A_TIME_AND_WAITING + 5):
            nursery.start_soon(sign_in)
        await trio.testing.wait_all_tasks_blocked()
        assert len(refused) == 5
        passwords.gate.set()
    assert passwords.most <= module.AT_A_TIME
    assert await passwords.verify(None, WRONG) == Verdict(False)


class GatedPasswords(Passwords):
    """Hashing waits until the gate is open; `most` is how many waited there at once."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.inside = self.most = 0

    def _verify(self, stored: str | None, password: bytes) -> Verdict:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.gate.wait(10)
        with self.lock:
            self.inside -= 1
        return super()._verify(stored, password)
