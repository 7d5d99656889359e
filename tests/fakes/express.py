"""The express way, watched: how often it was asked, and how often it served; and what its tests share."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from mrproxy.express import ExpressWay
from mrproxy.link.records import JournalRecord
from tests.fakes.caller import Answer, Caller
from tests.fakes.gateway import Gateway


@dataclass
class Watched:
    """Of the requests since it was watched: `taken` went the express way; `declined` were looked at, and did not."""

    taken: int = 0
    declined: int = 0


@contextmanager
def watched_express() -> Iterator[Watched]:
    """To be entered before the worker is built, which hands the bound method on."""
    watched = Watched()
    take = ExpressWay.take

    def counted(self: ExpressWay, *arguments: Any) -> bool:
        is_taken = take(self, *arguments)
        watched.taken += is_taken
        watched.declined += not is_taken
        return is_taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExpressWay, "take", counted)
        yield watched


async def ask(caller: Caller, *, stream: bool = False) -> Answer:
    await caller.ask(stream=stream)
    return await caller.read_answer()


async def warmed(gateway: Gateway, *, receive_bytes: int = 0) -> Caller:
    """A connection whose next request goes the express way, with a pooled connection at every backend."""
    callers = [await gateway.connect(receive_bytes=receive_bytes) for _ in gateway.stages.registry.backends]
    for caller in callers:
        await caller.ask()
    for caller in callers:
        assert (await caller.read_answer()).status == 200
    return callers[0]


async def served_again(gateway: Gateway) -> None:
    """A new connection is served, twice."""
    caller = await gateway.connect()
    for _ in range(2):
        assert (await ask(caller)).status == 200
    await gateway.settled()


def told(record: JournalRecord) -> JournalRecord:
    """A record without what differs from request to request; `server-timing` has as many digits as it took long."""
    return msgspec.structs.replace(
        record,
        request_id="",
        started_utc=0.0,
        first_byte_seconds=None,
        total_seconds=0.0,
        queue_seconds=0.0,
        bytes_out=0,
    )


def blurred(raw: bytes) -> bytes:
    """An answer without what differs from request to request."""
    found = re.search(rb"x-request-id: (\S+)", raw)
    if found is not None:
        raw = raw.replace(found[1], b"ID")
    return re.sub(rb"((?:server-timing|x-ratelimit-[a-z-]+|date|retry-after): )[^\r]*", rb"\1X", raw)
