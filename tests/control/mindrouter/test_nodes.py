"""Nodes in MindRouter's words; a sidecar is asked by a real request."""

import gzip

import pytest
import trio

from mrproxy.control.api.problem import Problem
from mrproxy.control.mindrouter.nodes import ask_sidecar

ONE = {"name": "gpu-server-1", "hostname": "gpu1", "sidecar_url": "http://gpu1:8007", "sidecar_key": "s3cret"}


async def test_a_node_is_registered_once_and_its_key_not_shown(desk):
    made = await desk.done("POST", "/nodes/register", ONE)
    assert made == {
        "id": made["id"],
        "name": "gpu-server-1",
        "hostname": "gpu1",
        "sidecar_url": "http://gpu1:8007",
        "sidecar_key_set": True,
        "status": "unknown",
        "gpu_count": None,
        "driver_version": None,
        "cuda_version": None,
        "sidecar_version": None,
    }
    assert await desk.done("GET", "/nodes") == [made]
    assert (await desk.refused("POST", "/nodes/register", ONE))[0] == 409
    status, detail = await desk.refused("POST", "/nodes/register", {"hostname": "x"})
    assert (status, detail[0]["type"]) == (422, "missing")


async def test_a_node_is_changed_and_what_is_empty_is_taken_away(desk):
    number = (await desk.done("POST", "/nodes/register", ONE))["id"]
    after = await desk.done("PATCH", f"/nodes/{number}", {"hostname": None, "sidecar_key": "", "name": "n"})
    assert (after["hostname"], after["sidecar_key_set"], after["name"]) == (None, False, "n")
    assert await desk.refused("PATCH", f"/nodes/{number}", {}) == (400, "No fields to update")
    assert await desk.refused("PATCH", "/nodes/99", {"name": "n"}) == (404, "Node not found")
    assert (await desk.refused("PATCH", f"/nodes/{number}", {"sidecar_url": "gpu1"}))[0] == 422


async def test_a_node_with_backends_stays(desk):
    number = (await desk.done("POST", "/nodes/register", ONE))["id"]
    body = {"name": "b", "url": "http://gpu1:8000", "engine": "vllm", "node_id": number}
    backend = (await desk.done("POST", "/backends/register", body))["id"]
    assert (await desk.refused("DELETE", f"/nodes/{number}"))[0] == 409
    await desk.done("PATCH", f"/backends/{backend}", {"node_id": None})
    assert await desk.done("DELETE", f"/nodes/{number}") == {"status": "deleted", "node_id": number}


async def test_a_node_without_a_sidecar_cannot_be_refreshed(desk):
    number = (await desk.done("POST", "/nodes/register", {"name": "n"}))["id"]
    assert await desk.refused("POST", f"/nodes/{number}/refresh") == (400, "Node has no sidecar configured")


async def test_a_sidecar_that_is_not_there_is_a_502(desk, unused_tcp_port_url):
    number = (await desk.done("POST", "/nodes/register", ONE | {"sidecar_url": unused_tcp_port_url}))["id"]
    status, detail = await desk.refused("POST", f"/nodes/{number}/refresh")
    assert (status, detail) == (502, "The sidecar cannot be reached (ConnectError)")


@pytest.fixture
async def unused_tcp_port_url() -> str:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("status", [200, 401])
async def test_a_sidecar_is_asked_with_its_key(nursery, status):
    heard: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        heard.append(await stream.receive_some(65536))
        await stream.send_all(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}" % status)
        await stream.aclose()

    (listener,) = await nursery.start(lambda task_status: serve(answer, task_status))
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    if status == 200:
        await ask_sidecar(url, "s3cret")
    else:
        with pytest.raises(Problem, match="status 401"):
            await ask_sidecar(url, "s3cret")
    assert heard[0].startswith(b"GET /health HTTP/1.1")
    assert b"x-sidecar-key: s3cret" in heard[0].lower()
    nursery.cancel_scope.cancel()


async def test_what_a_sidecar_says_is_not_read(nursery):
    bomb = gzip.compress(bytes(1 << 20))

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        head = b"HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % (2 * len(bomb))
        await stream.send_all(head + bomb)
        await trio.sleep_forever()

    (listener,) = await nursery.start(lambda task_status: serve(answer, task_status))
    with trio.fail_after(5):
        await ask_sidecar(f"http://127.0.0.1:{listener.socket.getsockname()[1]}", None)
    nursery.cancel_scope.cancel()


async def serve(answer, task_status) -> None:
    await trio.serve_tcp(answer, 0, host="127.0.0.1", task_status=task_status)
