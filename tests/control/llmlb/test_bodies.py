"""Whatever is sent, nothing is answered with a 5xx, and what is wrong is one sentence."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mrproxy.control.api.endpoint import Endpoint
from mrproxy.control.llmlb import endpoints
from mrproxy.control.llmlb.table import llmlb_apis
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.migrate import migrate
from mrproxy.storage.people.groups import seed_groups
from mrproxy.storage.urls import locate
from tests.control.api.conftest import NOW, make_house
from tests.control.llmlb.conftest import desk_of

V0 = llmlb_apis()[0]
ONE = {"id": "gpu-a", "user": "ada", "key": "c0ffeec0ffee", "invitation": "none"}
text = st.text(max_size=20) | st.sampled_from(["admin", "2030-01-01T00:00:00Z", "http://127.0.0.1:9", "\0", "é" * 200])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=2))
NAMES = sorted({name for each in V0.endpoints if each.request for name in each.request.__struct_fields__})
PARAMETERS = sorted({name for each in V0.endpoints if each.query for name in each.query.__struct_fields__})
bodies = st.dictionaries(st.sampled_from(NAMES), values, max_size=6) | values
queries = st.dictionaries(st.sampled_from(PARAMETERS), text | st.integers().map(str), max_size=4)

ASKED = [each for each in V0.endpoints if not each.path.endswith(("/test", "/sync"))]
requests = st.tuples(st.sampled_from(ASKED), bodies, queries)


@pytest.fixture(autouse=True)
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is said about an endpoint matters here."""

    async def kind_of(url: str, api_key: str | None) -> str:
        return "auto"

    monkeypatch.setattr(endpoints, "kind_of", kind_of)


# Each example has a database of its own, so it is asked many things; one that fails is not looked for in smaller.
@given(asked=st.lists(requests, min_size=25, max_size=25))
@settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_no_body_and_no_query_is_too_much(asked: list[tuple[Endpoint, Any, dict[str, str]]]) -> None:
    with TemporaryDirectory() as directory:
        trio.run(ask_all, Path(directory), asked)


async def ask_all(directory: Path, asked: list[tuple[Endpoint, Any, dict[str, str]]]) -> None:
    async with open_bridge() as bridge, open_database(locate("", directory), bridge) as database:
        await migrate(database)
        await database.transact(seed_groups, NOW)
        desk = desk_of(make_house(directory, database))
        await desk.sign_in("root")
        for endpoint, body, parameters in asked:
            path = endpoint.path.replace(":path", "").format(**ONE)
            query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
            sent = body if endpoint.request is not None else None
            response = await desk.ask(endpoint.method, f"{path}?{query}", sent)
            shown = await response.get_data()
            assert response.status_code < 500, (endpoint.method, path, query, body, shown)
            if response.status_code >= 400:
                assert list(json.loads(shown)) == ["error"]
