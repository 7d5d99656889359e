"""Shell. Hashing of passwords: Argon2id in worker threads, a few at a time, and a short queue before them.

Parameters: 46 MiB, one pass, one lane: the first of the equal choices of OWASP's Password Storage Cheat Sheet
(2026-02). RFC 9106's second recommended option (§4: 64 MiB, three passes, four lanes) takes four cores for its time,
and the cores are the relay's. A hash that was made with other parameters is still verified, and made anew.

Whether or not a user exists, whether or not he has a password, one verification is done: what takes time says nothing
about who is there. `verifications` counts them, for the tests that want to know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

import trio
from argon2 import Parameters, PasswordHasher
from argon2.exceptions import VerificationError
from argon2.low_level import Type

from mrproxy.control.signin.password_policy import is_too_long, normal_password

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PARAMETERS = Parameters(
    type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=47_104, parallelism=1
)
AT_A_TIME = 2  # 92 MiB, and at most two cores for some 50 ms each
AT_A_TIME_AND_WAITING = 16  # the last of them waits less than a second


class TooBusy(Exception):
    """More people sign in at this moment than can be served: try again in `retry_seconds`."""

    retry_seconds = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """`new_hash`: what should be stored instead, because parameters have changed."""

    is_right: bool
    new_hash: str | None = None


class Passwords:
    """One for a process."""

    def __init__(self, parameters: Parameters = PARAMETERS, at_a_time: int = AT_A_TIME) -> None:
        self._hasher = PasswordHasher.from_parameters(parameters)
        self._limiter = trio.CapacityLimiter(at_a_time)
        self._waiting = 0
        # Of a password that nobody knows. Made here, so that it costs what every other one costs.
        self._nobodys = self._hasher.hash(b"nobody's password")
        self.verifications = 0

    async def hash(self, password: str) -> str:
        """The encoded hash (PHC string). The policy has been asked before. Raises TooBusy."""
        return await self._in_thread(self._hash, normal_password(password))

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """`stored` None: nobody, or nobody with a password. The work is the same. Raises TooBusy."""
        if is_too_long(password):
            password, stored = "", None
        self.verifications += 1
        return await self._in_thread(self._verify, stored, normal_password(password))

    async def _in_thread(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._waiting >= AT_A_TIME_AND_WAITING:
            raise TooBusy
        self._waiting += 1
        try:
            # Abandoned when cancelled: a client that has left is not waited for, and the limiter counts the thread on.
            return await trio.to_thread.run_sync(function, *args, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            self._waiting -= 1

    def _hash(self, password: bytes) -> str:
        return self._hasher.hash(password)

    def _verify(self, stored: str | None, password: bytes) -> Verdict:
        try:
            self._hasher.verify(stored or self._nobodys, password)
        except (VerificationError, ValueError):
            return Verdict(False)
        if stored is None:  # somebody knows nobody's password
            return Verdict(False)
        return Verdict(True, self._hasher.hash(password) if self._hasher.check_needs_rehash(stored) else None)
