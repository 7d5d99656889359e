"""The document: valid, complete, and the same each time."""

import json
from typing import Annotated

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from mrproxy.control.api.endpoint import Answer, Api, Endpoint
from mrproxy.control.api.inference import INFERENCE
from mrproxy.control.api.openapi import document, operation_id, template_of
from mrproxy.control.assembly import tables
from mrproxy.control.permissions import Permission
from tests.control.api.conftest import NOW
from tests.fakes.log import MemoryLog


class Query(msgspec.Struct, kw_only=True):
    name: Annotated[str, Meta(max_length=5, description="A name.")]
    is_active: bool | None = None
    limit: int = 10


class Patch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str | UnsetType | None = UNSET


class Shown(msgspec.Struct, kw_only=True):
    name: str


async def handler(call):
    """One thing. And more of it."""
    return Answer()


API = Api(
    "/t",
    (
        Endpoint("GET", "/things", Permission.USERS_READ, handler, query=Query, answer=list[Shown]),
        Endpoint("PATCH", "/things/{thing:path}", Permission.USERS_WRITE, handler, Patch, answer=Shown),
        Endpoint("POST", "/open", Permission.PUBLIC, handler, Shown, status=204, tag="other"),
    ),
)


@pytest.fixture(scope="module")
def real():
    return json.loads(document(tables(lambda: NOW, MemoryLog()), "1.2.3"))


def described():
    return json.loads(document((API,), "0"))


def test_every_route_is_there(real):
    there = {(method.upper(), path) for path, methods in real["paths"].items() for method in methods}
    ours = {
        (each.method, template_of(api.prefix + each.path))
        for api in tables(lambda: NOW, MemoryLog())
        for each in api.endpoints
    }
    assert there == ours | {(each.method, each.path) for each in INFERENCE}


def test_every_reference_leads_somewhere(real):
    def references(value):
        match value:
            case dict():
                yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
                for each in value.values():
                    yield from references(each)
            case list():
                for each in value:
                    yield from references(each)

    for reference in set(references(real)):
        found = real
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert found


def test_operations_have_names_of_their_own(real):
    names = [each["operationId"] for methods in real["paths"].values() for each in methods.values()]
    assert len(names) == len(set(names))
    assert operation_id("GET", "/a/{b:path}/c") == "get_a_b_c"


def test_the_same_tables_make_the_same_document():
    assert document((API,), "0") == document((API,), "0")


def test_query_parameters_say_what_they_may_be():
    parameters = {each["name"]: each for each in described()["paths"]["/t/things"]["get"]["parameters"]}
    assert parameters["name"]["required"] is True
    assert parameters["name"]["schema"] == {"type": "string", "maxLength": 5}
    assert parameters["name"]["description"] == "A name."
    assert (parameters["is_active"]["required"], parameters["is_active"]["schema"]) == (False, {"type": "boolean"})
    assert parameters["limit"]["schema"] == {"type": "integer", "default": 10}


def test_a_change_takes_a_condition_and_a_post_a_key():
    paths = described()["paths"]
    assert [each["name"] for each in paths["/t/things/{thing}"]["patch"]["parameters"]] == ["thing", "If-Match"]
    assert [each["name"] for each in paths["/t/open"]["post"]["parameters"]] == ["Idempotency-Key"]
    assert {"412", "409", "415", "422", "404"} <= set(paths["/t/things/{thing}"]["patch"]["responses"])


def test_who_may_is_said(real):
    paths = described()["paths"]
    assert paths["/t/open"]["post"]["security"] == []
    assert "security" not in paths["/t/things"]["get"]
    assert paths["/t/things"]["get"]["x-permission"] == "users.read"
    assert real["paths"]["/v1/chat/completions"]["post"]["security"] == [{"bearer": []}, {"apiKey": []}]


def test_summaries_and_tags_come_from_the_handler_and_the_path():
    paths = described()["paths"]
    assert (paths["/t/things"]["get"]["summary"], paths["/t/things"]["get"]["tags"]) == (
        "One thing. And more of it",
        ["things"],
    )
    assert paths["/t/open"]["post"]["tags"] == ["other"]


def test_bodies_that_may_be_empty_are_not_required():
    paths = described()["paths"]
    assert paths["/t/things/{thing}"]["patch"]["requestBody"]["required"] is False
    assert paths["/t/open"]["post"]["requestBody"]["required"] is True
    assert paths["/t/open"]["post"]["responses"]["204"] == {"description": "Done."}
