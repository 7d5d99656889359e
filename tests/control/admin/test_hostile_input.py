"""Invariant: whatever a body holds is stored as it is, or refused with a 4xx; nothing is executed, split or a 500."""

import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrproxy.control.api.endpoint import Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.api.reading import decode_body, decode_query
from mrproxy.control.assembly import tables
from tests.control.admin.conftest import Desk
from tests.control.api.conftest import NOW
from tests.fakes.log import MemoryLog

ENDPOINTS: dict[str, Endpoint] = {
    f"{each.method} {api.prefix}{each.path}": each for api in tables(lambda: NOW, MemoryLog()) for each in api.endpoints
}
BODIES = {name: each.request for name, each in ENDPOINTS.items() if each.request is not None}
QUERIES = {name: each.query for name, each in ENDPOINTS.items() if each.query is not None}

texts = st.text(max_size=20) | st.sampled_from(
    [
        "'; DROP TABLE users; --",
        "\r\nSet-Cookie: a=b",
        "../../etc/passwd",
        "%00",
        "\u202e",
        "\ud83d\ude00",
        "1e400",
        "NaN",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


def bodies_of(kind: Any) -> st.SearchStrategy[Any]:
    """Some of the fields, with values of any sort, and sometimes a field that is none."""
    names = list(kind.__struct_fields__)
    fields = st.dictionaries(st.sampled_from(names) if names else texts, values, max_size=6)
    return fields | st.builds(lambda found, name, value: found | {name: value}, fields, texts, values) | values


def status_of(read: Any, *args: Any) -> int:
    try:
        read(*args)
    except Problem as problem:
        return problem.status
    return 200


@pytest.mark.parametrize("name", BODIES)
def test_every_body_is_a_value_or_a_problem(name: str) -> None:
    @settings(max_examples=40)
    @given(bodies_of(BODIES[name]))
    def try_it(body: Any) -> None:
        assert status_of(decode_body, json.dumps(body).encode(), BODIES[name]) in (200, 400, 422)

    try_it()


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_is_a_value_or_a_problem(name: str) -> None:
    @settings(max_examples=40)
    @given(st.lists(st.tuples(st.sampled_from([*QUERIES[name].__struct_fields__, "x"]), texts), max_size=5))
    def try_it(pairs: list[tuple[str, str]]) -> None:
        assert status_of(decode_query, pairs, QUERIES[name]) in (200, 422)

    try_it()


@pytest.mark.parametrize("name", BODIES)
def test_a_misspelt_field_of_ours_is_not_left_out_in_silence(name: str) -> None:
    if not name.split(" ")[1].startswith("/admin/"):
        return  # other systems' clients send more than is read, and always have
    assert status_of(decode_body, b'{"misspelt": 1}', BODIES[name]) == 422


HOSTILE = [
    "Robert'); DROP TABLE users;--",
    "a\r\nSet-Cookie: session=stolen",
    "../../../etc/passwd",
    "{{7*7}}${jndi:ldap://x}",
    '","level":"error","event":"forged',
    "\u202eadmin",
    "\x1b[31mred",
    "ａｄｍｉｎ",
    "Ǆ",
    "𝕬",
    "a" * 129,
    " ",
    "\ufeff",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_a_name_or_refused(desk: Desk, name: str) -> None:
    response = await desk.ask("POST", "/users", {"name": name})
    assert response.status_code in (201, 422), await response.get_data()
    for value in response.headers.values():
        assert "\n" not in value
        assert "stolen" not in value
    if response.status_code == 201:
        made = await response.get_json()
        assert made["name"] in await desk.names("/users")
        assert (await desk.shown(f"/users/{made['id']}"))["name"] == made["name"]
    assert len(await desk.names("/groups")) > 3


@pytest.mark.parametrize("search", [*HOSTILE[:-3], "%", "_", "\\", "a" * 200, "💥"])
async def test_a_hostile_search_finds_nothing_that_it_should_not(desk: Desk, search: str) -> None:
    await desk.made("/users", {"name": "ada"})

    for path in ("/users", "/keys", "/groups", "/backends", "/models", "/audit"):
        response = await desk.ask("GET", f"{path}?search={quote(search)}&limit=5")
        assert response.status_code == (422 if len(search) > 200 else 200), path
        if path == "/users" and search in "%_\\":
            assert (await response.get_json())["items"] == []


async def test_an_error_names_no_statement_and_no_file(desk: Desk) -> None:
    response = await desk.ask("POST", "/keys", {"name": "k", "user": "' OR 1=1 --"})
    body = (await response.get_data()).decode()
    assert response.status_code == 422
    assert "SELECT" not in body
    assert "/mrproxy/" not in body


def test_numbers_fit_their_columns() -> None:
    """What a body of ours may hold at most is what a database can: 64 bits. Of other systems' storage checks it."""
    ours = {name: kind for name, kind in BODIES.items() if "/admin/api/v1" in name}
    for name, kind in ours.items():
        for field in msgspec.structs.fields(kind):
            body = json.dumps({field.name: 2**63}).encode()
            status = status_of(decode_body, body, kind)
            assert status == 422, f"{name}: {field.name}"
