"""Pure. What a control plane has, as endpoints see it. `mrproxy/app.py` puts it together; tests put others in.

`store` None: the gateway runs without a database. `publish` compiles the database's part of the snapshot anew and
returns when the workers have it, or raises; whoever calls it limits the time.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from quart import Request
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.control.api.actor import Actor
from mrproxy.control.status import Scene

T = TypeVar("T")

Identify = Callable[[Request], Awaitable[Actor]]
"""Who asks. Raises Problem (401, 403, 429) for credentials that are wrong; nobody is `anonymous`."""

Publish = Callable[[], Awaitable[None]]
Observe = Callable[[], Awaitable[Scene]]


class Store(Protocol):
    """`mrproxy.storage.database.Database` is one."""

    async def transact(self, function: Callable[[AsyncConnection], Awaitable[T]], /) -> T: ...
    async def read(self, function: Callable[[AsyncConnection], Awaitable[T]], /) -> T: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """`secret` is the data directory's."""

    data_dir: Path
    secret: bytes
    clock: Clock
    store: Store | None
    identify: Identify
    publish: Publish
    observe: Observe
