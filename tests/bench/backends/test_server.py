"""A mock process as its clients see it: faults by header, control routes, and when it saw a client leave."""

import contextlib
import socket
import time

import pytest

from bench.fidelity import control
from bench.workload import RequestSpec, encode_request

pytestmark = pytest.mark.slow

STREAM = encode_request(RequestSpec(stream=True, max_tokens=2000))


@contextlib.contextmanager
def connected(target, data=b""):
    with socket.create_connection((target.host, target.port), timeout=5) as sock:
        sock.sendall(data)
        yield sock


def with_header(request, line):
    return request.replace(b"Host:", line + b"\r\nHost:", 1)


def read_all(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def wait_for(condition):
    deadline = time.monotonic() + 5
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def test_a_departure_is_stamped_within_milliseconds(vllm):
    control(vllm.url, "POST", "/_mock/reset")
    with connected(vllm, STREAM) as sock:
        sock.recv(1000)
        left_ns = time.monotonic_ns()
    aborted = wait_for(lambda: control(vllm.url, "GET", "/_mock/stats")["aborted"])
    assert len(aborted) == 1
    assert 0 <= aborted[0]["at_ns"] - left_ns < 1_000_000_000
    assert aborted[0]["route"] == "/v1/chat/completions"


def test_a_half_close_counts_as_leaving(vllm):
    control(vllm.url, "POST", "/_mock/reset")
    with connected(vllm, STREAM) as sock:
        sock.recv(1000)
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)
    assert control(vllm.url, "GET", "/_mock/stats")["aborted_total"] == 1


def test_a_header_chooses_the_fault(vllm):
    with connected(vllm, with_header(STREAM, b"x-mock-fault: truncate:2")) as sock:
        data = read_all(sock)
    assert data.count(b'"t0') >= 2
    assert not data.endswith(b"0\r\n\r\n")
    with connected(vllm, with_header(STREAM, b"x-mock-fault: status_429")) as sock:
        data = sock.recv(65536)
    assert data.startswith(b"HTTP/1.1 429")
    assert b"\r\nRetry-After: 1\r\n" in data
    with connected(vllm, with_header(STREAM, b"x-mock-fault: malformed")) as sock:
        assert not read_all(sock).startswith(b"HTTP/")


@pytest.mark.parametrize("kind", ["refuse", "reset_stream:1"])
def test_a_reset_is_a_reset(vllm, kind):
    with (
        connected(vllm, with_header(STREAM, b"x-mock-fault: " + kind.encode())) as sock,
        pytest.raises(ConnectionResetError),
    ):
        read_all(sock)


def test_rules_strike_while_they_last_and_can_be_cleared(vllm):
    assert control(vllm.url, "POST", "/_mock/faults", {"kind": "status_503", "count": 1}) == {"rules": 1}
    short = encode_request(RequestSpec(max_tokens=1))
    with connected(vllm) as sock:
        for expected in (b"HTTP/1.1 503", b"HTTP/1.1 200"):
            sock.sendall(short)
            assert sock.recv(65536).startswith(expected)
    assert control(vllm.url, "POST", "/_mock/faults", {}) == {"rules": 0}
    assert "unknown kind" in control(vllm.url, "POST", "/_mock/faults", {"kind": "?"})["error"]


def test_beyond_slots_and_queue_a_request_is_refused(vllm):
    with contextlib.ExitStack() as stack:
        for _ in range(4):  # two slots, two places in the queue
            stack.enter_context(connected(vllm, STREAM))
        wait_for(lambda: control(vllm.url, "GET", "/_mock/stats")["waiting"] == 2)
        sock = stack.enter_context(connected(vllm, STREAM))
        assert sock.recv(65536).startswith(b"HTTP/1.1 503")
    wait_for(lambda: control(vllm.url, "GET", "/_mock/stats")["running"] == 0)


def test_stats_count_requests_and_connections(vllm):
    control(vllm.url, "POST", "/_mock/reset")
    with connected(vllm, encode_request(RequestSpec(max_tokens=1))) as sock:
        sock.recv(65536)
        stats = control(vllm.url, "GET", "/_mock/stats")
    assert stats["requests"] == {"POST /v1/chat/completions": 1}
    assert stats["statuses"] == {"200": 1}
    assert stats["connections_open"] == 2  # this one, and the one that asks
    assert stats["generation_tokens"] == 1


def test_bytes_that_are_no_request_get_400_and_the_end(vllm):
    with connected(vllm, b"nonsense\r\n\r\n") as sock:
        assert read_all(sock).startswith(b"HTTP/1.1 400")


def test_refusing_connections_ends_by_itself(vllm):
    control(vllm.url, "POST", "/_mock/refuse", {"seconds": 0.2})
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((vllm.host, vllm.port), timeout=1)

    def answers():
        with contextlib.suppress(OSError):
            return control(vllm.url, "GET", "/_mock/stats")

    assert wait_for(answers)


def test_a_client_that_does_not_read_gets_no_more_than_its_buffers(vllm):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((vllm.host, vllm.port))
        sock.sendall(encode_request(RequestSpec(stream=True, max_tokens=100)))
        time.sleep(0.05)
        sock.settimeout(5)
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += sock.recv(100)
    assert data.count(b'"t0') == 100


@pytest.mark.parametrize(("fault", "expected"), [(b"html", b"<!DOCTYPE html>"), (b"status_529", b"HTTP/1.1 529")])
def test_an_answer_may_be_a_web_page_or_overloaded(vllm, fault, expected):
    with connected(vllm, with_header(STREAM, b"x-mock-fault: " + fault)) as sock:
        assert expected in sock.recv(65536)


def test_what_the_engine_got_can_be_looked_at(vllm):
    control(vllm.url, "POST", "/_mock/reset")
    with connected(vllm, with_header(encode_request(RequestSpec(max_tokens=3)), b"X-Request-Id: ABC")) as sock:
        sock.recv(65536)
    with connected(vllm, with_header(STREAM, b"x-mock-fault: refuse")) as sock, contextlib.suppress(ConnectionError):
        sock.recv(65536)
    first, second = control(vllm.url, "GET", "/_mock/requests")
    assert (first["body"]["max_tokens"], first["completion_tokens"], first["state"]) == (3, 3, "done")
    assert (second["status"], second["body"]["stream"]) == (0, True)
    assert control(vllm.url, "GET", "/_mock/requests?id=ABC") == [first]
