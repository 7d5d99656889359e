"""The offer of a real control plane: everything that is served, put together once."""

from collections import Counter
from pathlib import Path

import trio
from quart_trio import QuartTrio

from mrproxy.config import Settings
from mrproxy.control.api.endpoint import Endpoint
from mrproxy.control.assembly import make_offer, nothing_to_publish
from mrproxy.control.offer import Offer
from mrproxy.control.routes import build_app
from mrproxy.control.signin.passwords import Passwords
from tests.control.api.conftest import CHEAP, NOW, SECRET, nothing_to_see
from tests.fakes.log import MemoryLog


def offer_of(data_dir: Path) -> Offer:
    """Of a gateway without a database."""
    return make_offer(
        Settings(), data_dir, SECRET, None, nothing_to_publish, lambda: NOW, MemoryLog(), {}, Passwords(CHEAP)
    )


def routes_of(offer: Offer) -> dict[tuple[str, str], Endpoint]:
    """Every endpoint by its method and path."""
    return {(each.method, api.prefix + each.path): each for api in offer.apis for each in api.endpoints}


async def tell(method: str, path: str) -> dict[str, bytes]:
    return {}


def test_no_route_is_served_by_two(tmp_path):
    offer = offer_of(tmp_path)
    counted = Counter((each.method, api.prefix + each.path) for api in offer.apis for each in api.endpoints)
    assert [route for route, count in counted.items() if count > 1] == []


async def test_pages_documents_and_apis_are_all_there(tmp_path):
    app: QuartTrio = build_app(nothing_to_see, trio.Event(), offer_of(tmp_path), tell)
    client = app.test_client()
    for path in ("/docs", "/redoc", "/openapi.json", "/login", "/admin/api/v1/status", "/healthz", "/readyz"):
        response = await client.get(path)
        assert response.status_code in (200, 503 if path == "/readyz" else 200), path


async def test_the_owner_of_the_directory_is_known_without_a_database(tmp_path):
    client = build_app(nothing_to_see, trio.Event(), offer_of(tmp_path), tell).test_client()
    assert (await client.get("/admin/api/v1/settings")).status_code == 200
    forwarded = {"X-Forwarded-For": "127.0.0.1"}
    assert (await client.get("/admin/api/v1/settings", headers=forwarded)).status_code == 401
