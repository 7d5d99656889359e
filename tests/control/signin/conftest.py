"""A control plane that one can sign in to: the real routes, a real database, visitors with their own cookies."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from argon2 import Parameters
from argon2.low_level import Type
from quart import Response
from quart_trio import QuartTrio

from mrproxy.config import Oidc
from mrproxy.control.api.endpoint import Answer, Api, Endpoint
from mrproxy.control.api.plane import Plane
from mrproxy.control.api.serving import mount
from mrproxy.control.application import Application
from mrproxy.control.permissions import Permission
from mrproxy.control.reports import JournalLag
from mrproxy.control.signin.assembly import SignInParts, assemble
from mrproxy.control.signin.cookies import Jar, Kind
from mrproxy.control.signin.passwords import Passwords
from mrproxy.control.status import Scene
from mrproxy.identity.digest import digest_key
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.people.groups import find_group_by_name
from mrproxy.storage.people.users import change_user, create_user
from mrproxy.storage.people.values import NewUser, User
from tests.fakes.log import MemoryLog

SECRET = b"s" * 32
PASSWORD = "correct horse battery"
ADDRESS = "192.0.2.10"
API = "/admin/api/v1"
CHEAP = Parameters(Type.ID, 19, 16, 32, time_cost=1, memory_cost=64, parallelism=1)
AUDIT = "SELECT action, actor_kind, actor, entity, detail, address FROM audit_log ORDER BY id"


@dataclass
class Settings:
    public_url: str = ""
    cookie_secure: str = "auto"
    session_seconds: float = 7 * 24 * 3600.0
    session_idle_seconds: float = 12 * 3600.0


@dataclass
class Store:
    """The database, and a switch for it."""

    database: Database
    is_away: bool = False
    is_read_only: bool = False

    async def transact(self, function: Any) -> Any:
        if self.is_read_only:
            raise DatabaseUnavailable("the database cannot be written")
        return await self._if_there(self.database.transact, function)

    async def read(self, function: Any) -> Any:
        return await self._if_there(self.database.read, function)

    async def _if_there(self, cross: Any, function: Any) -> Any:
        if self.is_away:
            raise DatabaseUnavailable("the database is away")
        return await cross(function)


@dataclass
class Clock:
    now_utc: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_utc


@dataclass
class Visit:
    """One browser, or program: its cookies, its address, whether it came by TLS."""

    house: "House"
    address: str = ADDRESS
    is_tls: bool = False
    cookies: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, **options: Any) -> Response:
        headers = {
            "X-Forwarded-For": self.address,
            "X-Forwarded-Proto": "https" if self.is_tls else "http",
            "Host": "llm.example",
            "User-Agent": "a test",
            **options.pop("headers", {}),
        }
        if self.cookies:
            headers.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        client = self.house.app.test_client(use_cookies=False)
        response: Response = await client.open(path, method=method, headers=headers, **options)
        for line in response.headers.getlist("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return response

    def cookie(self, kind: Kind) -> str:
        return self.cookies[Jar(self.house.parts.session_api.sign_in.sessions.keys, self.is_tls).name(kind)]

    @property
    def csrf(self) -> dict[str, str]:
        return {"X-CSRF-Token": self.cookie(Kind.CSRF)}

    async def sign_in(self, name: str = "ada", password: str = PASSWORD) -> Response:
        return await self.ask("POST", f"{API}/session", json={"name": name, "password": password})

    async def who(self, **headers: str) -> Response:
        return await self.ask("GET", f"{API}/session", headers=headers)

    async def form(self, path: str = "/login") -> str:
        """The CSRF token in the form of a page."""
        text = await (await self.ask("GET", path)).get_data(as_text=True)
        found = re.search(r'name="csrf_token" value="(\w+)"', text)
        assert found is not None, text
        return found[1]


@dataclass
class House:
    store: Store
    clock: Clock
    parts: SignInParts
    app: QuartTrio
    log: MemoryLog
    passwords: Passwords
    data_dir: Path
    written: list[str] = field(default_factory=list)

    def visit(self, **options: Any) -> Visit:
        return Visit(self, **options)

    async def add_user(self, name: str, group: str = "staff", password: str | None = PASSWORD, **more: Any) -> User:
        found = await self.store.database.read(find_group_by_name, group)
        assert found is not None
        hashed = None if password is None else await self.passwords.hash(password)
        wanted = NewUser(name=name, group_id=found.id, password_hash=hashed, **more)
        return await self.store.database.transact(create_user, wanted, self.clock.now_utc)

    async def change(self, user: User, **changes: object) -> User:
        return await self.store.database.transact(change_user, user.id, changes, None, self.clock.now_utc)

    async def rows(self, statement: str) -> list[Any]:
        async def select(connection: Any) -> list[Any]:
            return list(await connection.exec_driver_sql(statement))

        return await self.store.database.read(select)

    def digest(self, key: str) -> str:
        return digest_key(SECRET, key.encode()).hex()


async def observe() -> Scene:
    return Scene("0", 1.0, (), JournalLag(0, 0.0), 0, None)


async def publish() -> None:
    """Nobody is there to be told."""


async def show_what_is_for_administrators(_: object) -> Answer:
    return Answer(value={"secret": "of administrators"})


def make_house(
    store: Store, data_dir: Path, settings: Settings | None = None, providers: tuple[Oidc, ...] = ()
) -> House:
    clock, log, passwords = Clock(), MemoryLog(), Passwords(CHEAP)
    parts = assemble(
        settings or Settings(), data_dir, SECRET, store, clock, log, providers=providers, passwords=passwords
    )
    plane = Plane(
        data_dir=data_dir,
        secret=SECRET,
        clock=clock,
        store=store,
        identify=parts.identification.identify,
        publish=publish,
        observe=observe,
        passwords=passwords,
    )
    app = Application("test")
    for_admins = Endpoint("POST", "/for-admins", Permission.USERS_WRITE, show_what_is_for_administrators)
    for_members = Endpoint("POST", "/for-members", Permission.OWN_KEYS_WRITE, show_what_is_for_administrators)
    for api in (Api(API, (*parts.session_api.endpoints(), for_admins, for_members)), *parts.apis()):
        mount(app, api, plane)
    parts.mount_pages(app)
    return House(store, clock, parts, app, log, passwords, data_dir)


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def house(store: Store, tmp_path: Path) -> House:
    return make_house(store, tmp_path)


@pytest.fixture
async def ada(house: House) -> User:
    """A user of group staff with `PASSWORD`."""
    return await house.add_user("Ada", email="ada@example.edu")


@pytest.fixture
async def root(house: House) -> User:
    return await house.add_user("root", "admin")
