"""Pure. What a control plane has, as endpoints see it. `mrproxy/controlling.py` puts it together; tests put others in.

`store` None: the gateway runs without a database. `publish` compiles the database's part of the snapshot anew and
returns when the workers have it, or raises; whoever calls it limits the time.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from quart import Request
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.configured import nothing_configured
from mrproxy.control.api.exports import Exports
from mrproxy.control.reports import Silent
from mrproxy.control.signin.passwords import Passwords
from mrproxy.control.status import Scene
from mrproxy.link.snapshot import Snapshot

T = TypeVar("T")

Identify = Callable[[Request], Awaitable[Actor]]
"""Who asks. Raises Problem (401, 403, 429) for credentials that are wrong; nobody is `anonymous`."""

Publish = Callable[[], Awaitable[None]]
Observe = Callable[[], Awaitable[Scene]]


Tell = Callable[[str, str], Awaitable[dict[str, "bytes | Silent"]]]
"""Method and path, sent to each worker's socket; what each answered, or why it did not."""


class Store(Protocol):
    """`mrproxy.storage.database.Database` is one."""

    async def transact(self, function: Callable[[AsyncConnection], Awaitable[T]], /) -> T: ...
    async def read(self, function: Callable[[AsyncConnection], Awaitable[T]], /) -> T: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """`secret` is the data directory's, `configured` what the configuration says. `passwords` hashes secrets."""

    data_dir: Path
    secret: bytes
    clock: Clock
    store: Store | None
    identify: Identify
    publish: Publish
    observe: Observe
    configured: Callable[[], Snapshot] = nothing_configured
    passwords: Passwords = field(default_factory=Passwords)
    tell: Tell | None = None
    exports: Exports = field(default_factory=Exports)
