"""All of it: whatever is sent to whichever endpoint, no answer is a 500, and each mistake has its `detail`."""

import json
import string
from functools import partial

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrproxy.control.api.endpoint import Endpoint
from mrproxy.control.mindrouter.table import mindrouter_apis
from mrproxy.control.reports import Silent

APIS = mindrouter_apis(lambda: 0.0)
ROUTES = [(api.prefix + each.path, each) for api in APIS for each in api.endpoints]
# These would talk to somebody.
SILENT = ("/ollama/pull", "/ollama/delete", "/refresh")

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([2**63, -1, "1", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def bodies(endpoint: Endpoint) -> st.SearchStrategy[object]:
    if endpoint.request is None:
        return st.none()
    names = endpoint.request.__struct_fields__
    return st.dictionaries(st.sampled_from(names), values, max_size=len(names)) | values


def queries(endpoint: Endpoint) -> st.SearchStrategy[dict[str, str]]:
    if endpoint.query is None:
        return st.just({})
    texts = st.text(max_size=8) | st.integers().map(str) | st.sampled_from(["2025-01-01", "true", "hour", "1h", "all"])
    return st.dictionaries(st.sampled_from(endpoint.query.__struct_fields__), texts, max_size=3)


def test_every_endpoint_says_what_it_is():
    for path, endpoint in ROUTES:
        assert endpoint.title, path
        assert endpoint.topic.startswith("MindRouter: "), path
        assert endpoint.answer is not None, path


@pytest.mark.parametrize(("path", "endpoint"), ROUTES, ids=[f"{each.method} {path}" for path, each in ROUTES])
async def test_no_request_is_an_error_of_ours(desk, path, endpoint):
    desk.answers = {"0": Silent("0", "x")}
    number = await desk.user()

    async def ask(body: object, query: dict[str, str], argument: str) -> None:
        target = "".join(argument if at % 2 else part for at, part in enumerate(split(path)))
        response = await desk.client.open(
            target, method=endpoint.method, data=json.dumps(body).encode(), query_string=query
        )
        assert response.status_code < 500 or response.status_code == 503, await response.get_data()
        if response.status_code >= 400:
            assert list(json.loads(await response.get_data())) == ["detail"]

    arguments = st.sampled_from([str(number), "0", "-1", "9" * 18, "9" * 30, "x", "١"])
    if path.endswith(SILENT):
        arguments = st.sampled_from(["77", "x"])
    token = trio.lowlevel.current_trio_token()

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bodies(endpoint), queries(endpoint), arguments)
    def each(body, query, argument):
        trio.from_thread.run(partial(ask, body, query, argument), trio_token=token)

    await trio.to_thread.run_sync(each)


def split(path: str) -> list[str]:
    """`/a/{b}/c` → `/a/`, `b`, `/c`."""
    return path.replace("}", "{").split("{")


def test_letters_of_paths_are_plain():
    assert all(set(path) <= set(string.ascii_lowercase + "/-_{}") for path, _ in ROUTES)
