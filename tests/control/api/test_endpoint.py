"""Rows of a table."""

import pytest

from mrproxy.control.api.endpoint import Answer, Api, Endpoint
from mrproxy.control.permissions import Permission


async def handler(call):
    return Answer()


@pytest.mark.parametrize(
    ("method", "publishes", "must"),
    [("GET", None, False), ("POST", None, True), ("DELETE", None, True), ("POST", False, False), ("GET", True, True)],
)
def test_what_writes_is_published_unless_the_row_says_otherwise(method, publishes, must):
    row = Endpoint(method, "/x", Permission.PUBLIC, handler, publishes=publishes)
    assert row.must_publish is must


def test_an_api_words_its_problems_as_rfc_9457_unless_told_otherwise():
    assert Api("/x", ()).word.__name__ == "problem_json"
