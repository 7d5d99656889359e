"""Every operation of the OpenAPI document is asked with what it allows, and with what it does not: nothing is a 500.

Invariant: an answer has a status and a type that the document names, and a body of that schema. Asked through a real
gateway, with an administrator's key; where a path names something, half of the time it is something that there is.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.front_door.gateway import Gateway, backend_table, eventually, run_gateway

# It takes half a minute, and more on a machine that has other things to do.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = 2
OURS = re.compile(r"^/(admin/api/v1|v0|api/auth|api/admin|api/cluster)")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
UNSUITABLE = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def administered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, str, dict[str, str]]]:
    """A gateway of its own, which the test may spoil; an administrator's key; and names of what there is."""
    config = backend_table("asleep", "openai", "http://127.0.0.1:9")
    with run_gateway(tmp_path_factory.mktemp("schemathesis"), config, waits=False) as gateway:
        users = "/admin/api/v1/users"
        eventually(lambda: gateway.ask("GET", users, key="").status == 401 or None, "nobody administers")
        gateway.wait_for("the first administrator was made")
        yield gateway, *furnish(gateway.data_dir)


def furnish(data_dir: Path) -> tuple[str, dict[str, str]]:
    """As the owner of the data directory can."""
    transport = httpx.HTTPTransport(uds=str(data_dir / "run" / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://mrproxy/admin/api/v1", timeout=10) as client:

        def made(path: str, body: object) -> Any:
            response = client.post(path, json=body)
            assert response.status_code == 201, response.text
            return response.json()

        admin = made("/users", {"name": "fuzz", "group": "admin"})
        key = made("/keys", {"name": "fuzz", "user": admin["id"], "scopes": ["admin"]})["key"]
        made("/users", {"name": "ada"})
        made("/groups", {"name": "lab"})
        made("/backends", {"name": "spare", "kind": "openai", "url": "http://127.0.0.1:7"})
        made("/models", {"name": "m"})
        places = {"user": "ada", "group": "lab", "backend": "spare", "model": "m", "entry": "1", "request": "1"}
        places["key"] = made("/keys", {"name": "k", "user": "ada"})["id"]
        places["invitation"] = made("/invitations", {})["id"]
        return key, places


def test_nothing_that_the_document_allows_or_forbids_is_an_error_of_ours(
    administered: tuple[Gateway, str, dict[str, str]],
) -> None:
    gateway, key, places = administered
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    asked = 0
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        for found in schema.get_all_operations():
            operation = found.ok()
            if OURS.match(operation.path):
                ask(operation, session, places)
                asked += 1
    assert asked > 70
    assert '"level":"error"' not in gateway.child.output()


def ask(operation: APIOperation, session: requests.Session, places: dict[str, str]) -> None:
    """What there is is not deleted: the operations after this one need it."""
    is_harmless = operation.method != "delete"
    named = {name: places[name] for name in re.findall(r"\{(\w+)\}", operation.path) if name in places and is_harmless}
    existing = {"path_parameters": named} if named else {}
    ways = [(GenerationMode.POSITIVE, existing), (GenerationMode.NEGATIVE, existing)]
    ways += [(GenerationMode.POSITIVE, {})] if named else []
    for mode, arguments in ways:
        cases = operation.as_strategy(generation_mode=mode, **arguments)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=UNSUITABLE,
            phases=[Phase.generate],
        )
        @given(case=cases)
        def run(case: Case) -> None:
            case.call_and_validate(session=session, checks=CHECKS, timeout=20)

        try:
            run()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # nothing can be wrong with what takes nothing
