"""One table, two prefixes, and no way into what belongs to others."""

from mrproxy.canonical.request import Operation
from mrproxy.control.api.openapi import template_of
from mrproxy.control.llmlb.table import llmlb_apis
from mrproxy.dialects.routes import Way, find_route

BOTH = {api.prefix: {(each.method, each.path) for each in api.endpoints} for api in llmlb_apis()}
ONLY_IN_V0 = {("GET", "/version")}


def test_what_is_below_one_prefix_is_below_the_other() -> None:
    assert BOTH["/v0"] - BOTH["/api"] == ONLY_IN_V0
    assert BOTH["/api"] <= BOTH["/v0"]


def test_every_path_comes_to_the_control_plane() -> None:
    for prefix, endpoints in BOTH.items():
        for method, path in endpoints:
            route = find_route(method.encode(), template_of(prefix + path).encode(), None)
            assert (route.way, route.operation) == (Way.CONTROL, Operation.GREETING), prefix + path


def test_mindrouters_paths_stay_its_own() -> None:
    assert not [path for _, path in BOTH["/api"] if path.startswith(("/admin", "/cluster"))]
