"""A provider as a process, and a control plane that knows it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from mrproxy.config import Oidc
from tests.control.signin.conftest import House, Settings, Store, Visit, make_house
from tests.fakes.oidc_provider import CLIENT_ID, CLIENT_SECRET, FakeProvider, run_provider


@pytest.fixture(scope="session")
def provider_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeProvider]:
    with run_provider(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture
def provider(provider_process: FakeProvider) -> FakeProvider:
    """Honest again."""
    provider_process.tell()
    return provider_process


@dataclass
class Journey:
    """A browser that goes to the provider and comes back."""

    house: House
    visit: Visit
    name: str = "fake"

    async def go(self, **query: str) -> str:
        """Where it is sent."""
        response = await self.visit.ask("GET", f"/login/oidc/{self.name}", query_string=query)
        assert response.status_code == 303
        return response.headers["Location"]

    def approve(self, url: str) -> str:
        """What the provider answers with: path and query of ours."""
        answer = httpx.get(url, trust_env=False, follow_redirects=False)
        assert answer.status_code == 302, answer.text
        parts = urlsplit(answer.headers["Location"])
        assert f"{parts.scheme}://{parts.netloc}" == "http://llm.example"
        return f"{parts.path}?{parts.query}"

    async def back(self, path: str) -> Any:
        return await self.visit.ask("GET", path)

    async def all_of_it(self, **query: str) -> Any:
        return await self.back(self.approve(await self.go(**query)))


def sent(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


@dataclass
class World:
    store: Store
    data_dir: Path
    issuer: str

    def house(self, settings: Settings | None = None, **values: Any) -> House:
        wanted = {"name": "fake", "issuer": self.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        providers = (Oidc(**{"label": "Fake & Co", **wanted, **values}),)
        made = make_house(self.store, self.data_dir, settings, providers)
        made.clock.now_utc = time.time()  # the provider is a process, with a clock of its own
        return made


@pytest.fixture
def world(store: Store, tmp_path: Path, provider: FakeProvider) -> World:
    return World(store, tmp_path, provider.url)


@pytest.fixture
def there(world: World) -> Journey:
    house = world.house()
    return Journey(house, house.visit())
