"""One port, two planes: pages and metrics through the front door, and HTTP as clients other than SDKs speak it."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import h11
import pytest
import trio
import trio_websocket
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bench.procfs import PROC, list_tree
from tests.front_door.conftest import House
from tests.front_door.gateway import (
    KEY,
    MESSAGES,
    Answer,
    Gateway,
    backend_table,
    eventually,
    key_table,
    run_gateway,
    run_mock,
)

pytestmark = pytest.mark.slow

CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 5}
STREAM = {**CHAT, "stream": True}
NONCE = "dGhlIHNhbXBsZSBub25jZQ=="


# The two processes


def test_a_worker_runs_in_real_time_where_that_is_wanted_and_allowed(tmp_path: Path):
    """As root, or with LimitRTPRIO; otherwise a warning, and it serves all the same."""
    with run_mock("vllm", tmp_path) as engine:
        config = key_table(KEY, "ada") + backend_table("gpu-1", "vllm", engine)
        with run_gateway(tmp_path, config, options=["--worker-realtime"]) as gateway:
            assert gateway.ask("POST", "/v1/chat/completions", CHAT).status == 200
            plane_of = {pid: (PROC / str(pid) / "cmdline").read_text() for pid in list_tree([gateway.child.pid])}
            policies = {
                plane: os.sched_getscheduler(pid)
                for pid, command in plane_of.items()
                for plane in ("worker", "control")
                if f"\0{plane}\0" in command
            }
            refused = "worker_realtime: the system does not allow it" in gateway.child.output()
            assert policies == {"worker": os.SCHED_OTHER if refused else os.SCHED_RR, "control": os.SCHED_OTHER}


# The control plane


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/status"])
def test_pages_need_no_key_and_are_json(gateway: Gateway, path: str):
    answer = gateway.ask("GET", path, key="", headers={"X-Request-Id": "page:1"})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["x-request-id"] == "page:1"
    assert answer.json()


def test_readiness_says_that_a_backend_is_routable_and_the_snapshot_loaded(gateway: Gateway):
    ready = gateway.ask("GET", "/readyz").json()
    assert (ready["ready"], ready["reasons"]) == (True, [])


def test_the_status_has_every_backend_with_its_state(gateway: Gateway):
    status = gateway.ask("GET", "/status").json()
    states = {backend["name"]: backend["state"] for backend in status["backends"]}
    assert states == {"mock-vllm": "routable", "mock-ollama": "routable", "scripted": "routable", "asleep": "draining"}
    routable = {model["name"]: model["routable"] for model in status["models"]}
    assert (routable["mock-8b"], routable["asleep"]) == (True, False)
    assert status["workers"][0]["error"] is None


def test_no_page_shows_a_key(gateway: Gateway):
    for path in ("/status", "/metrics", "/readyz"):
        assert b"mr_front-door" not in gateway.ask("GET", path).body


def test_metrics_count_a_request_with_all_that_it_was(gateway: Gateway):
    before = requests_of(gateway)
    asked = {**CHAT, "model": "org/model-7b"}
    gateway.ask("POST", "/v1/chat/completions", asked)
    gateway.ask("POST", "/api/chat", {"model": "no-such-model", "messages": MESSAGES})
    key = ("openai", "org/model-7b", "mock-vllm", "200")
    unknown = ("ollama", "", "", "404")
    expected = (before.get(key, 0) + 1, before.get(unknown, 0) + 1)

    def both_counted() -> bool | None:
        found = requests_of(gateway)  # a page may be a fifth of a second old
        return (found.get(key), found.get(unknown)) == expected or None

    eventually(both_counted, "it is not counted")


def requests_of(gateway: Gateway) -> dict[tuple[str, ...], float]:
    counted = metrics(gateway).get("mrproxy_requests_total", [])
    return {tuple(labels[name] for name in ("dialect", "model", "backend", "status")): n for labels, n in counted}


def metrics(gateway: Gateway) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Sample name → labels and value, as Prometheus' own parser reads the page."""
    answer = gateway.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in parse_text(answer.body.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def refusals_of(gateway: Gateway) -> set[str]:
    return {labels["code"] for labels, _ in metrics(gateway).get("mrproxy_refused_total", [])}


def test_metrics_have_what_the_operators_need(gateway: Gateway):
    gateway.ask("POST", "/v1/chat/completions", STREAM)
    gateway.ask("GET", "/v1/models", key="mr_unknown")
    eventually(lambda: "invalid_key" in refusals_of(gateway) or None, "the refusal is not counted")
    names = metrics(gateway)
    for histogram in ("queue_wait_seconds", "ttft_seconds", "inter_token_seconds", "duration_seconds"):
        assert f"mrproxy_{histogram}_bucket" in names
    for counter in ("prompt_tokens", "completion_tokens", "retries", "client_departures", "bytes_in", "bytes_out"):
        assert f"mrproxy_{counter}_total" in names
    for gauge in ("in_flight", "waiting", "event_loop_lag_seconds", "journal_lag_bytes", "backend_breaker_state"):
        assert f"mrproxy_{gauge}" in names


def test_metrics_are_openmetrics_for_those_who_ask(gateway: Gateway):
    answer = gateway.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "mrproxy_requests" in {family.name for family in parse_openmetrics(answer.body.decode())}


async def test_the_live_status_comes_over_a_websocket_through_the_front_door(gateway: Gateway):
    url = gateway.url.replace("http://", "ws://") + "/status/live"
    with trio.fail_after(15):
        async with trio_websocket.open_websocket_url(url) as socket:
            for _ in range(2):
                status = json.loads(await socket.get_message())
                assert status["ready"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_route"),
        ("GET", "/healthz/../nothing", 404, "unknown_route"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "unknown_route"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
def test_mistakes_are_json(gateway: Gateway, method: str, path: str, status: int, code: str):
    answer = gateway.ask(method, path)
    assert answer.status == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-request-id"]
    if status == 405:
        assert answer.headers["allow"]


# HTTP


@pytest.fixture
def wire(gateway: Gateway) -> Iterator[socket.socket]:
    with gateway.connect() as sock:
        yield sock


def head(method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
    fixed = (f"{method} {path} HTTP/{version}", "Host: gateway", f"Authorization: Bearer {KEY}")
    return "\r\n".join((*fixed, *lines, "", "")).encode()


def post(path: str, body: object, *lines: str, version: str = "1.1") -> bytes:
    payload = json.dumps(body).encode()
    sized = (f"Content-Length: {len(payload)}", "Content-Type: application/json", *lines)
    return head("POST", path, *sized, version=version) + payload


def read_answers(sock: socket.socket, *methods: str) -> list[Answer]:
    """One answer per method asked for, in order, framed by h11: an independent reading of HTTP/1.1."""
    answers = []
    inbox = b""
    for method in methods:
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "gateway")]))
        reader.send(h11.EndOfMessage())
        if inbox:  # to h11 nothing is the end of the connection
            reader.receive_data(inbox)
        body, found = b"", None
        while not isinstance(event := reader.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
            if event is h11.NEED_DATA:
                reader.receive_data(sock.recv(65536))
            elif isinstance(event, h11.Response):
                found = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        assert found is not None
        answers.append(Answer(found.status_code, {k.decode(): v.decode() for k, v in found.headers}, body))
        inbox = reader.trailing_data[0]
    assert inbox == b""
    return answers


def read_to_end(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("body", [b"", b"hello"], ids=["alone", "with a body"])
def test_an_upgrade_to_nowhere_is_rejected_and_harms_nobody(gateway: Gateway, wire: socket.socket, body: bytes):
    """What follows on the connection of a refused upgrade is beyond Hypercorn; it used to end the control plane."""
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {NONCE}")
    before = gateway.pid_of("control")
    for _ in range(10):
        wire.sendall(head("GET", "/nothing/live", *upgrade, f"Content-Length: {len(body)}") + body)
        answer = read_answers(wire, "GET")[0]
        assert (answer.status, answer.json()["error"]["code"]) == (404, "unknown_route")
        wire.sendall(head("GET", "/healthz"))
        assert read_answers(wire, "GET")[0].status == 200
    assert gateway.pid_of("control") == before
    assert "Traceback" not in gateway.child.output()


def test_pipelined_requests_are_answered_in_order(wire: socket.socket):
    lengths = [4, 1, 3]
    asked = [post("/v1/chat/completions", {**CHAT, "max_tokens": length}) for length in lengths]
    wire.sendall(b"".join([*asked, head("GET", "/healthz"), head("GET", "/v1/models")]))
    answers = read_answers(wire, "POST", "POST", "POST", "GET", "GET")
    assert [answer.json()["usage"]["completion_tokens"] for answer in answers[:3]] == lengths
    assert answers[3].json() == {"status": "ok"}
    assert answers[4].json()["object"] == "list"


def test_pipelined_streams_are_answered_in_order(wire: socket.socket):
    wire.sendall(post("/v1/chat/completions", STREAM) * 2 + post("/v1/chat/completions", CHAT))
    first, second, third = read_answers(wire, "POST", "POST", "POST")
    assert first.body.endswith(b"data: [DONE]\n\n")
    assert second.body.endswith(b"data: [DONE]\n\n")
    assert third.json()["usage"]["completion_tokens"] == 5


def test_a_connection_carries_one_request_after_the_other(wire: socket.socket):
    for _ in range(3):
        wire.sendall(post("/v1/chat/completions", CHAT))
        assert read_answers(wire, "POST")[0].status == 200
        wire.sendall(head("GET", "/readyz"))
        assert read_answers(wire, "GET")[0].status == 200


def test_a_refusal_leaves_the_connection_usable(wire: socket.socket):
    wire.sendall(post("/v1/chat/completions", {**CHAT, "model": "no-such-model"}) + post("/v1/chat/completions", CHAT))
    assert [answer.status for answer in read_answers(wire, "POST", "POST")] == [404, 200]


def test_a_request_may_arrive_byte_by_byte(wire: socket.socket):
    for byte in post("/v1/chat/completions", CHAT):
        wire.sendall(bytes([byte]))
    assert read_answers(wire, "POST")[0].json()["usage"]["completion_tokens"] == 5


def test_a_body_may_be_chunked(wire: socket.socket):
    payload = json.dumps(CHAT).encode()
    pieces = [payload[start : start + 11] for start in range(0, len(payload), 11)]
    lines = ("Transfer-Encoding: chunked", "Content-Type: application/json")
    wire.sendall(head("POST", "/v1/chat/completions", *lines))
    for piece in pieces:
        wire.sendall(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
    wire.sendall(b"0\r\nTrailer: ignored\r\n\r\n")
    assert read_answers(wire, "POST")[0].json()["usage"]["completion_tokens"] == 5


def test_who_expects_100_continue_gets_it_before_the_body(wire: socket.socket):
    asked = post("/v1/chat/completions", CHAT, "Expect: 100-continue")
    end = asked.index(b"\r\n\r\n") + 4
    wire.sendall(asked[:end])
    assert wire.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sendall(asked[end:])
    assert read_answers(wire, "POST")[0].status == 200


def test_strangers_who_expect_100_continue_are_refused_before_they_upload(wire: socket.socket):
    asked = post("/v1/chat/completions", CHAT, "Expect: 100-continue").replace(KEY.encode(), b"mr_unknown")
    wire.sendall(asked[: asked.index(b"\r\n\r\n") + 4])
    assert read_to_end(wire).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/org/model-7b", "/api/tags", "/api/version", "/", "/healthz"]
)
def test_head_is_get_without_its_body(gateway: Gateway, path: str):
    whole, bare = gateway.ask("GET", path), gateway.ask("HEAD", path)
    assert (bare.status, bare.body) == (200, b"")
    assert bare.headers["content-type"] == whole.headers["content-type"]
    assert bare.headers["content-length"] == str(len(whole.body))


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(wire: socket.socket):
    wire.sendall(post("/v1/chat/completions", STREAM, version="1.0"))
    answer = read_to_end(wire)
    start, _, payload = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in start.lower()
    assert b"connection: close" in start.lower()
    assert payload.startswith(b"data: {")
    assert payload.endswith(b"data: [DONE]\n\n")


def test_http_1_0_gets_json_and_pages(gateway: Gateway):
    for asked in (post("/v1/chat/completions", CHAT, version="1.0"), head("GET", "/status", version="1.0")):
        with gateway.connect() as wire:
            wire.sendall(asked)
            start, _, payload = read_to_end(wire).partition(b"\r\n\r\n")
            assert start.startswith(b"HTTP/1.1 200 ")
            assert json.loads(payload)


def test_http_1_0_may_keep_the_connection_after_a_list_but_not_after_what_an_engine_frames(wire: socket.socket):
    for _ in range(2):
        wire.sendall(head("GET", "/v1/models", "Connection: keep-alive", version="1.0"))
        answer = read_answers(wire, "GET")[0]
        assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")
    wire.sendall(post("/v1/chat/completions", CHAT, "Connection: keep-alive", version="1.0"))
    assert b"connection: close\r\n" in read_to_end(wire).lower()


# Browsers


ORIGIN = {"Origin": "https://chat.example"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/api/chat", "/api/tags"])
def test_a_browser_may_ask_before_it_asks(gateway: Gateway, path: str):
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os"}
    answer = gateway.ask("OPTIONS", path, key="", headers=ORIGIN | wanted)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert ("GET" if path in ("/v1/models", "/api/tags") else "POST") in answer.headers["access-control-allow-methods"]
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize("body", [CHAT, STREAM, {**CHAT, "model": "no-such-model"}], ids=["json", "stream", "refusal"])
def test_a_browser_may_read_every_answer_and_its_headers(gateway: Gateway, body: object):
    answer = gateway.ask("POST", "/v1/chat/completions", body, headers=ORIGIN)
    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {"x-request-id", "x-mrproxy-backend", "retry-after", "x-ratelimit-remaining-requests"} <= exposed


def test_a_browser_may_read_why_its_key_is_wrong(gateway: Gateway):
    answer = gateway.ask("POST", "/v1/chat/completions", CHAT, key="mr_unknown", headers=ORIGIN)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, "*")


# Keys and lists, as commands of the shell see them


def test_an_api_key_may_come_as_x_api_key(gateway: Gateway):
    answer = gateway.ask("GET", "/v1/models", headers={"Authorization": "", "X-API-Key": KEY})
    assert answer.status == 200


def test_a_request_without_a_key_is_told_so(gateway: Gateway):
    answer = gateway.ask("GET", "/v1/models", headers={"Authorization": ""})
    assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_model_on_several_backends_is_listed_once(house: House):
    listed = house.gateway.ask("GET", "/api/tags").json()["models"]
    assert [model["name"] for model in listed].count("llama3.2:latest") == 1
