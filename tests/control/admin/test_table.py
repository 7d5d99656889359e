"""The list of the modules."""

from collections import Counter

from mrproxy.control.admin.table import ENDPOINTS, PREFIX, admin_api
from mrproxy.control.api.endpoint import Endpoint
from mrproxy.control.permissions import Permission


def test_no_route_stands_there_twice() -> None:
    counted = Counter((each.method, each.path) for each in ENDPOINTS)
    assert [route for route, count in counted.items() if count > 1] == []


def test_every_endpoint_says_what_it_is() -> None:
    assert [each.path for each in ENDPOINTS if not each.title] == []


def test_more_endpoints_stand_before_ours() -> None:
    more = Endpoint("GET", "/more", Permission.PUBLIC, ENDPOINTS[0].handler)
    assert admin_api((more,)).endpoints[0] is more
    assert admin_api().prefix == PREFIX


def test_what_only_reads_never_publishes() -> None:
    assert [each.path for each in ENDPOINTS if each.is_reading and each.must_publish] == []
