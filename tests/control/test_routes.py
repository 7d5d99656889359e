"""Through the real Unix socket: what a client of the control plane sees."""

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus
from quart import Response
from quart.typing import TestClientProtocol as Client
from quart_trio import QuartTrio
from trio_websocket import ConnectionClosed, wrap_client_stream

from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Api, Endpoint
from mrproxy.control.offer import Offer
from mrproxy.control.permissions import Permission
from mrproxy.control.reports import Silent
from mrproxy.control.routes import MAX_LIVE, MAX_LIVE_PER_ADDRESS, build_app
from tests.control.api.conftest import make_house, nothing_to_see
from tests.control.conftest import Control
from tests.fakes.worker import report


async def test_healthz_says_ok_without_any_worker(control: Control) -> None:
    response = await control.client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_readyz_is_200_when_a_worker_has_its_snapshot_and_a_backend_is_routable(control: Control) -> None:
    await control.add_worker("0", report())
    response = await control.client.get("/readyz")
    assert response.status_code == 200
    body = response.json()
    assert (body["ready"], body["reasons"], body["warnings"]) == (True, [], ["there is no database"])
    assert (body["journal"], body["storage"]) == ({"lag_bytes": 0, "lag_seconds": 0}, None)


async def test_readyz_is_503_with_the_reason_when_no_worker_runs(control: Control) -> None:
    response = await control.client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["reasons"] == ["no worker is running"]


async def test_readyz_names_each_worker_without_a_snapshot(control: Control) -> None:
    await control.add_worker("0", report())
    await control.add_worker("1", report(worker="1", snapshot={"generation": 0, "loaded": False}))
    response = await control.client.get("/readyz")
    assert (response.status_code, response.json()["reasons"]) == (503, ["worker 1: no snapshot loaded"])


async def test_status_sums_the_workers_and_shows_no_password(control: Control) -> None:
    await control.add_worker("0", report())
    await control.add_worker("1", report(worker="1"))
    response = await control.client.get("/status")
    status = response.json()
    assert "secret" not in response.text
    assert (status["in_flight"], status["waiting"], status["connections"]) == (4, 2, 6)
    assert [worker["name"] for worker in status["workers"]] == ["0", "1"]
    first, second = status["backends"]
    assert (first["name"], first["url"], first["state"]) == ("gpu-a", "http://127.0.0.1:9001", "routable")
    assert (second["state"], second["last_probe_error"]) == ("down", "connection refused")
    assert {model["name"]: model["routable"] for model in status["models"]} == {"m1": True, "m2": True, "m3": False}


async def test_metrics_parse_back_to_what_the_worker_counted(control: Control) -> None:
    await control.add_worker("0", report())
    response = await control.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parse_prometheus(response.text)
        for sample in family.samples
    }
    assert samples["mrproxy_requests_total", "0", "200", "gpu-a", "m1", "openai"] == 7
    assert samples["mrproxy_requests_total", "0", "503", "gpu-b", "ollama", 'quo"te\\d'] == 2
    assert samples["mrproxy_ttft_seconds_bucket", "0", "0.1"] == 3
    assert samples["mrproxy_ttft_seconds_bucket", "0", "1.0"] == 5
    assert samples["mrproxy_ttft_seconds_bucket", "+Inf", "0"] == 6
    assert samples["mrproxy_ttft_seconds_count", "0"] == 6
    assert samples["mrproxy_ttft_seconds_sum", "0"] == 4.5
    assert samples["mrproxy_backend_state", "0", "gpu-a", "routable"] == 1
    assert samples["mrproxy_worker_up", "0"] == 1


async def test_metrics_are_openmetrics_for_whoever_asks_for_it(control: Control) -> None:
    await control.add_worker("0", report())
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    response = await control.client.get("/metrics", headers=accept)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert "mrproxy_requests" in {family.name for family in parse_openmetrics(response.text)}


@pytest.mark.slow
async def test_a_silent_worker_is_reported_and_costs_less_than_a_second(control: Control) -> None:
    await control.add_worker("0", report())
    await control.add_worker("1", None)
    with trio.fail_after(3):  # the deadline itself is tested in virtual time in test_workers.py
        status = (await control.client.get("/status")).json()
    assert [worker["error"] for worker in status["workers"]] == [None, "no answer within 0.8 s"]
    assert status["reasons"] == ["worker 1: no answer within 0.8 s"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/status/", "/static/x", "/%2e%2e/secret", "/dashboard?x=1"])
async def test_an_unknown_path_is_a_json_404_with_the_request_id(control: Control, path: str) -> None:
    response = await control.client.get(path, headers={"X-Request-Id": "r-1"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["type"], error["code"], error["request_id"]) == ("invalid_request_error", "unknown_route", "r-1")
    assert error["message"]


async def test_a_wrong_method_is_a_json_405_that_says_what_is_allowed(control: Control) -> None:
    response = await control.client.post("/status", content=b"x" * 100)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"
    assert response.json()["error"]["code"] == "method_not_allowed"
    assert "request_id" not in response.json()["error"]


async def test_a_bug_is_a_json_500_without_its_traceback(
    control: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(scene: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("mrproxy.control.routes.summarize", broken)
    response = await control.client.get("/status")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret of the house" not in response.text
    assert "secret of the house" in caplog.text


@pytest.mark.parametrize("path", ["/healthz", "/nothing"])
async def test_every_answer_has_the_security_headers(control: Control, path: str) -> None:
    headers = (await control.client.get(path)).headers
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


async def test_head_answers_as_get_without_a_body(control: Control) -> None:
    response = await control.client.head("/healthz")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "15"


async def test_live_status_pushes_until_drain_and_then_says_goodbye(control: Control) -> None:
    await control.add_worker("0", report())
    async with await control.open_stream() as stream:
        socket = await wrap_client_stream(control.nursery, stream, "control", "/status/live")
        assert json.loads(await socket.get_message())["ready"] is True
        control.drain.set()
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await socket.get_message()
    assert closed.value.reason.code == 1001
    with trio.fail_after(3):
        await control.ended.wait()
    assert control.exits == []


async def test_more_than_a_few_who_watch_are_told_to_come_again(control: Control) -> None:
    handshake = (
        b"GET /status/live HTTP/1.1\r\nHost: control\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        b"X-Forwarded-For: 192.0.2.%d\r\n\r\n"
    )

    async def ask(leaving: AsyncExitStack, address: int = 1) -> bytes:
        stream = await leaving.enter_async_context(await control.open_stream())
        await stream.send_all(handshake % address)
        return bytes(await stream.receive_some())

    async with AsyncExitStack() as watching:
        for number in range(MAX_LIVE):
            address = number // MAX_LIVE_PER_ADDRESS
            assert (await ask(watching, address)).startswith(b"HTTP/1.1 101 ")
            if number == MAX_LIVE_PER_ADDRESS:
                assert (await ask(watching, 0)).startswith(b"HTTP/1.1 503 ")
        answer = await ask(watching, 100)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 10\r\n" in answer.lower()
    with trio.fail_after(5):
        async with AsyncExitStack() as coming:
            while not (await ask(coming)).startswith(b"HTTP/1.1 101 "):  # a place is free when its end is noticed
                await trio.sleep(0.05)


async def test_live_status_ends_when_its_client_leaves(control: Control) -> None:
    async with await control.open_stream() as stream:
        socket = await wrap_client_stream(control.nursery, stream, "control", "/status/live")
        await socket.get_message()
    assert (await control.client.get("/healthz")).status_code == 200


async def test_an_upgrade_elsewhere_is_a_json_404(control: Control) -> None:
    async with await control.open_stream() as stream:
        await stream.send_all(
            b"GET /nothing HTTP/1.1\r\nHost: control\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nX-Request-Id: r-2\r\n\r\n"
        )
        answer = b""
        while b'"request_id":"r-2"}}' not in answer:
            answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_plain_get_of_the_live_status_is_a_json_error(control: Control) -> None:
    response = await control.client.get("/status/live")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_request"


async def test_a_large_body_is_refused_before_it_is_sent(control: Control) -> None:
    async with await control.open_stream() as stream:
        await stream.send_all(b"POST /healthz HTTP/1.1\r\nHost: control\r\nContent-Length: 3000000000\r\n\r\nxxx")
        answer = await stream.receive_some()
    assert answer.startswith((b"HTTP/1.1 405 ", b"HTTP/1.1 413 "))


async def test_what_is_wrong_below_an_api_is_worded_by_it(tmp_path: Path) -> None:
    client = offering(tmp_path, "/t")
    for method, path, status in (("GET", "/t/none", 404), ("GET", "/t//x", 404), ("PUT", "/t/x", 405)):
        response = await client.open(path, method=method, headers={"X-Request-Id": "r-7"})
        assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
        assert (await response.get_json())["instance"] == "r-7"
    assert (await client.put("/t/x")).headers["Allow"] == "GET, HEAD, OPTIONS"
    assert (await (await client.get("/tea")).get_json())["error"]["code"] == "unknown_route"


async def test_a_page_has_the_headers_that_it_brings(tmp_path: Path) -> None:
    response = await offering(tmp_path, "/t").get("/page")
    assert response.headers["Content-Security-Policy"] == "default-src 'self'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def offering(tmp_path: Path, prefix: str) -> Client:
    house = make_house(tmp_path, None)

    async def show(call: Call[None, None]) -> Answer:
        return Answer(value=1)

    def page(app: QuartTrio) -> None:
        @app.get("/page")
        async def show_page() -> Response:
            return Response("", headers={"Content-Security-Policy": "default-src 'self'"})

    async def tell(method: str, path: str) -> dict[str, bytes | Silent]:
        return {}

    api = Api(prefix, (Endpoint("GET", "/x", Permission.PUBLIC, show),))
    offer = Offer(make_plane=lambda observe, tell: house.plane, apis=(api,), mounts=(page,))
    return build_app(nothing_to_see, trio.Event(), offer, tell).test_client()
