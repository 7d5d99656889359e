"""What is described of the front door is what it serves, all of it."""

import re

import pytest

from mrproxy.control.api.inference import INFERENCE
from mrproxy.dialects import routes
from mrproxy.dialects.routes import Way, find_route

DESCRIBED = {(each.method, each.path) for each in INFERENCE}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
GATEWAY = {"/healthz", "/readyz", "/status", "/metrics"}
# A path below each of these names something; what may be done with it is found by asking.
NAMING = (
    "/v1/models/{model}",
    "/anthropic/v1/models/{model}",
    "/v1/responses/{response}",
    "/v1/responses/{response}/input_items",
    "/v1/conversations",
    "/v1/conversations/{conversation}",
    "/v1/conversations/{conversation}/items",
    "/v1/conversations/{conversation}/items/{item}",
)


def is_served(method: str, path: str) -> bool:
    found = find_route(method.encode(), re.sub(r"\{\w+\}", "x", path).encode(), None)
    return found.way not in (Way.REFUSED, Way.CONTROL)


@pytest.mark.parametrize(("method", "path"), sorted(route for route in DESCRIBED if route[1] not in GATEWAY))
def test_what_is_described_is_served(method, path):
    assert is_served(method, path)


def test_what_is_served_is_described():
    paths = {path.decode() for table, _ in routes._TABLES for path in table} | set(NAMING)
    served = {(method, path) for path in paths for method in METHODS if is_served(method, path)}
    assert served - DESCRIBED == set()


def test_every_post_says_what_it_takes():
    assert [each.path for each in INFERENCE if (each.method == "POST") != bool(each.takes)] == []
