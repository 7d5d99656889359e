"""Quart as this gateway uses it: what a request says of its host decides nothing, and answers come whole."""

import httpx
import pytest
from quart import Response

from mrproxy.control.application import Application


@pytest.mark.parametrize(
    "host", ["gateway", "a..b", ".", "x" * 64, "[::1]:80", "xn--a", "é".encode().decode("latin-1"), ""]
)
@pytest.mark.parametrize(("path", "status"), [("/things/1", 200), ("/nothing", 404)])
async def test_no_host_is_an_error(host: str, path: str, status: int) -> None:
    app = Application("test")

    async def show(name: str) -> Response:
        return Response(name)

    app.add_url_rule("/things/<name>", endpoint="thing", view_func=show)
    response = await app.test_client().get(path, headers={"Host": host})
    assert response.status_code == status


async def test_an_answer_comes_whole_and_its_connection_goes_on(control) -> None:
    """Through Hypercorn: what is cut off would be a length that is not kept."""
    client: httpx.AsyncClient = control.client
    for _ in range(3):
        response = await client.get("/status")
        assert len(response.content) == int(response.headers["content-length"])
