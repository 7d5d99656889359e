"""llmlb's API with a database of its own, asked in this process by whomever the test says."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from quart.typing import TestClientProtocol

from mrproxy.control.api.actor import Actor, ActorKind
from mrproxy.control.api.idempotency import carry_out
from mrproxy.control.llmlb.table import llmlb_apis
from mrproxy.control.permissions import Role
from mrproxy.control.reports import JournalLag, Silent, decode_report
from mrproxy.control.status import Scene
from mrproxy.storage.people.groups import seed_groups
from mrproxy.storage.people.values import User
from tests.control.admin.conftest import CONFIGURED, encoded_report
from tests.control.api.conftest import NOW, House, home, make_house

__all__ = ["home"]


@dataclass
class Desk:
    """Asks below `/v0`; `told` is what the workers were told."""

    house: House
    client: TestClientProtocol
    told: list[tuple[str, str]]

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        options: dict[str, Any] = {} if body is None else {"json": body}
        return await self.client.open(path if path == "/metrics/cloud" else f"/v0{path}", method=method, **options)

    async def status(self, method: str, path: str, body: object = None) -> int:
        return int((await self.ask(method, path, body)).status_code)

    async def made(self, path: str, body: object) -> Any:
        response = await self.ask("POST", path, body)
        assert response.status_code == 201, await response.get_data()
        return await response.get_json()

    async def shown(self, path: str) -> Any:
        response = await self.ask("GET", path)
        assert response.status_code == 200, await response.get_data()
        return await response.get_json()

    async def done(self, method: str, path: str, body: object = None) -> Any:
        response = await self.ask(method, path, body)
        assert response.status_code in (200, 204), await response.get_data()
        return await response.get_json() if response.status_code == 200 else None

    async def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Status and sentence; the body has nothing else."""
        response = await self.ask(method, path, body)
        said = await response.get_json()
        assert response.content_type == "application/json"
        assert list(said) == ["error"]
        return int(response.status_code), str(said["error"])

    async def add_user(self, name: str, group: str = "other") -> User:
        return await self.house.add_user(name, group)

    async def sign_in(self, name: str, group: str = "admin", scopes: tuple[str, ...] | None = None) -> User:
        """With `scopes`, by a key."""
        user = await self.add_user(name, group)
        roles = {Role.MEMBER, *({Role.ADMIN} if group == "admin" else ())}
        kind = ActorKind.USER if scopes is None else ActorKind.KEY
        self.house.actor = Actor(kind=kind, name=name, user_id=user.id, roles=frozenset(roles), scopes=scopes)
        return user


async def observe() -> Scene:
    return Scene("0.0.0", 1.0, (decode_report(encoded_report()),), JournalLag(0, 0.0), 0, None)


def desk_of(house: House) -> Desk:
    told: list[tuple[str, str]] = []

    async def tell(method: str, path: str) -> dict[str, bytes | Silent]:
        told.append((method, path))
        return {"0": b"{}"}

    house.plane = replace(house.plane, configured=lambda: CONFIGURED, observe=observe, tell=tell)
    return Desk(house, house.serve(*llmlb_apis(), carry_out=carry_out), told)


@pytest.fixture
async def desk(home: House) -> Desk:
    await home.plane.store.transact(seed_groups, NOW)  # type: ignore[union-attr]
    return desk_of(home)


@pytest.fixture
def bare_desk(tmp_path: Path) -> Desk:
    """Of a gateway without a database."""
    return desk_of(make_house(tmp_path, None))
