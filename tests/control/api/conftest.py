"""An application with some endpoints, asked in this process; SQLite behind it, of this test."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from argon2 import Parameters, Type
from quart import Request
from quart.typing import TestClientProtocol

from mrproxy.control.api.actor import Actor, owner
from mrproxy.control.api.endpoint import Api
from mrproxy.control.api.plane import Plane
from mrproxy.control.api.problem import Problem
from mrproxy.control.api.serving import mount
from mrproxy.control.application import Application
from mrproxy.control.reports import JournalLag
from mrproxy.control.signin.passwords import Passwords
from mrproxy.control.status import Scene
from mrproxy.storage.database import Database
from mrproxy.storage.people.groups import find_group_by_name
from mrproxy.storage.people.users import create_user
from mrproxy.storage.people.values import NewUser, User

# What Argon2id costs is not tested here.
CHEAP = Parameters(type=Type.ID, version=19, salt_len=16, hash_len=16, time_cost=1, memory_cost=8, parallelism=1)
NOW = 1_760_000_000.0
SECRET = b"s" * 32


@dataclass
class House:
    """What a test may change: who asks, what time it is; and what it may look at."""

    plane: Plane
    actor: Actor = field(default_factory=lambda: owner("r-1"))
    refusal: Problem | None = None
    published: int = 0

    async def add_user(self, name: str, group: str) -> User:
        """Of one of the groups that `seed_groups` made."""

        async def add(connection: Any) -> User:
            found = await find_group_by_name(connection, group)
            assert found is not None
            return await create_user(connection, NewUser(name=name, group_id=found.id), NOW)

        return await self.plane.store.transact(add)  # type: ignore[union-attr]

    def serve(self, *apis: Api, **options: object) -> TestClientProtocol:
        app = Application("test")
        app.config["MAX_CONTENT_LENGTH"] = 10_000
        for api in apis:
            mount(app, api, self.plane, **options)  # type: ignore[arg-type]
        return app.test_client()


async def nothing_to_see() -> Scene:
    return Scene("0", 1.0, (), JournalLag(0, 0.0), 0, None)


def make_house(data_dir: Path, store: Database | None) -> House:
    async def identify(asked: Request) -> Actor:
        if house.refusal is not None:
            raise house.refusal
        return house.actor

    async def publish() -> None:
        house.published += 1

    clock: Callable[[], float] = lambda: NOW  # noqa: E731
    plane = Plane(
        data_dir=data_dir,
        secret=SECRET,
        clock=clock,
        store=store,
        identify=identify,
        publish=publish,
        observe=nothing_to_see,
        passwords=Passwords(CHEAP),
    )
    house = House(plane)
    return house


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Without a database."""
    return make_house(tmp_path, None)


@pytest.fixture
def home(tmp_path: Path, database: Database) -> House:
    """With a database that has the usual groups."""
    return make_house(tmp_path, database)
