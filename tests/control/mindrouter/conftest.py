"""MindRouter's API with a database of its own, asked in this process by whomever the test says."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from quart.typing import TestClientProtocol

from mrproxy.control.api.actor import Actor, ActorKind
from mrproxy.control.api.endpoint import Api
from mrproxy.control.api.idempotency import carry_out
from mrproxy.control.mindrouter.table import mindrouter_apis
from mrproxy.control.permissions import Role
from mrproxy.control.reports import Silent
from mrproxy.storage.people.groups import seed_groups
from tests.control.admin.conftest import CONFIGURED, observe
from tests.control.api.conftest import NOW, House, home

__all__ = ["home"]

QUEUE = {
    "flows": [
        {
            "model": "m1",
            "waiting": 3,
            "flows": [
                {"flow_id": "user:ann", "weight": 2, "waiting": 2, "in_flight": 1, "deficit_tokens": -5},
                {"flow_id": "key:abc", "weight": 1, "waiting": 1, "in_flight": 0, "deficit_tokens": 7},
            ],
        }
    ]
}


@dataclass
class Desk:
    """`told` is what the workers were told; `answers` what they say."""

    house: House
    client: TestClientProtocol
    told: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, bytes | Silent] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Any]:
        """Status and JSON. A path without `/api` is below `/api/admin`."""
        given = {} if body is None else {"json": body}
        target = path if path.startswith("/api/") else f"/api/admin{path}"
        response = await self.client.open(target, method=method, **given, **options)
        return response.status_code, json.loads(await response.get_data() or "null")

    async def done(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of what must go well."""
        status, found = await self.ask(method, path, body)
        assert status == 200, found
        return found

    async def refused(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and detail."""
        status, found = await self.ask(method, path, body)
        assert status >= 400, found
        return status, found["detail"]

    async def group(self, name: str = "staff") -> int:
        found = (await self.done("GET", "/groups"))["groups"]
        return next(int(each["id"]) for each in found if each["name"] == name)

    async def user(self, name: str = "ann", group: str = "staff") -> int:
        body = {
            "username": name,
            "email": f"{name}@example.edu",
            "password": "correct horse battery",
            "group_id": await self.group(group),
        }
        return int((await self.done("POST", "/users", body))["id"])

    async def do(self, function: Any, *args: Any) -> Any:
        """In a transaction."""

        async def run(connection: Any) -> Any:
            return await function(connection, *args)

        store = self.house.plane.store
        assert store is not None
        return await store.transact(run)

    def apis(self) -> tuple[Api, ...]:
        return mindrouter_apis(lambda: NOW)

    def be(self, *roles: Role, user_id: int = 10**6) -> None:
        self.house.actor = Actor(kind=ActorKind.USER, name="somebody", user_id=user_id, roles=frozenset(roles))


@pytest.fixture
async def desk(home: House) -> AsyncIterator[Desk]:
    found = Desk(home, None)  # type: ignore[arg-type]
    found.answers = {"0": json.dumps(QUEUE).encode(), "1": Silent("1", "no answer within 0.8 s")}

    async def tell(method: str, path: str) -> dict[str, bytes | Silent]:
        found.told.append((method, path))
        return found.answers

    home.plane = replace(home.plane, configured=lambda: CONFIGURED, observe=observe, tell=tell)
    found.client = home.serve(*found.apis(), carry_out=carry_out)
    await found.do(seed_groups, NOW)
    found.client.app.config["BACKGROUND_TASK_SHUTDOWN_TIMEOUT"] = 0.01
    async with found.client.app.test_app():  # for its nursery
        yield found
