"""Our own API with a database of its own, asked in this process by whomever the test says."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from quart.typing import TestClientProtocol

from mrproxy.control.admin.table import PREFIX, admin_api
from mrproxy.control.api.actor import Actor, ActorKind, owner
from mrproxy.control.api.idempotency import carry_out
from mrproxy.control.permissions import Role
from mrproxy.control.reports import JournalLag, Silent, decode_report
from mrproxy.control.status import Scene
from mrproxy.link.snapshot import BackendSpec, GroupSpec, KeySpec, ModelSpec, Snapshot, UserSpec
from mrproxy.storage import audit
from mrproxy.storage.audit import AuditEntry, AuditFilter
from mrproxy.storage.people.values import User
from tests.control.api.conftest import House, home, make_house
from tests.fakes.worker import report

__all__ = ["home"]

CONFIGURED = Snapshot(
    generation=1,
    created_utc=0.0,
    groups=(GroupSpec("admin", 10), GroupSpec("visitors", 2)),
    users=(UserSpec("configured", "visitors", 3),),
    keys=(KeySpec("c0ffeec0ffee", "configured key", "00" * 16, "configured"),),
    backends=(BackendSpec("gpu-a", "vllm", "http://someone:secret@127.0.0.1:9001", 64, "sk-secret"),),
    models=(ModelSpec("m1", 2.0),),
)


@dataclass
class Desk:
    """Asks as `actor`; `told` is what the workers were told."""

    house: House
    told: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def client(self) -> TestClientProtocol:
        """Of our own API, unless a test serves more."""
        return self.house.serve(admin_api(), carry_out=carry_out)

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        options: dict[str, Any] = {} if body is None else {"json": body}
        return await self.client.open(PREFIX + path, method=method, headers=named, **options)

    async def made(self, path: str, body: object) -> Any:
        """The JSON of what a POST has made."""
        response = await self.ask("POST", path, body)
        assert response.status_code == 201, await response.get_data()
        return await response.get_json()

    async def shown(self, path: str) -> Any:
        response = await self.ask("GET", path)
        assert response.status_code == 200, await response.get_data()
        return await response.get_json()

    async def status(self, method: str, path: str, body: object = None, **headers: str) -> int:
        return (await self.ask(method, path, body, **headers)).status_code

    async def names(self, path: str, field: str = "name") -> list[str]:
        return [each[field] for each in (await self.shown(path))["items"]]

    async def add_user(self, name: str, group: str = "other") -> User:
        return await self.house.add_user(name, group)

    async def sign_in(self, name: str, group: str = "other") -> User:
        """As a member from now on."""
        user = await self.add_user(name, group)
        self.house.actor = Actor(
            kind=ActorKind.USER, name=name, user_id=user.id, roles=frozenset({Role.MEMBER}), session="s-current"
        )
        return user

    def be_the_owner(self) -> None:
        self.house.actor = owner("r-1")

    async def entries(self) -> list[AuditEntry]:
        page = await self.house.plane.store.read(list_all)  # type: ignore[union-attr]
        return list(reversed(page.rows))


async def list_all(connection: Any) -> Any:
    return await audit.list_entries(connection, AuditFilter())


async def observe() -> Scene:
    return Scene("0", 1.0, (decode_report(encoded_report()),), JournalLag(0, 0.0), 0, None)


def encoded_report() -> bytes:
    return json.dumps(report()).encode()


def desk_of(house: House) -> Desk:
    told: list[tuple[str, str]] = []

    async def tell(method: str, path: str) -> dict[str, bytes | Silent]:
        told.append((method, path))
        return {"0": b'{"flows": [{"flow": "user:ada"}]}', "1": Silent("1", "no answer within 0.8 s")}

    house.plane = replace(house.plane, configured=lambda: CONFIGURED, observe=observe, tell=tell)
    return Desk(house, told)


@pytest.fixture
def desk(home: House) -> Desk:
    return desk_of(home)


@pytest.fixture
def bare_desk(tmp_path: Path) -> Desk:
    """Of a gateway without a database."""
    return desk_of(make_house(tmp_path, None))
