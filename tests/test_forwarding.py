"""What is not inference goes to the control plane and comes back, whatever that plane does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from mrproxy.accept.client import Client
from mrproxy.fibers import Departed
from tests.fakes.caller import Answer, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until

pytestmark = pytest.mark.slow

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
HANG_UP = b""


@dataclass
class FakeControl:
    """Answers each request with the next of `answers`; an empty one closes the connection instead."""

    answers: list[bytes] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    streams: list[trio.SocketStream] = field(default_factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.streams.append(stream)
        async with stream:
            while asked := await read_request(stream):
                self.asked.append(asked)
                answer = self.answers.pop(0) if self.answers else OK
                if answer == HANG_UP:
                    return
                await stream.send_all(answer)
                if answer.startswith(b"HTTP/1.1 101"):
                    while data := await stream.receive_some(65536):
                        await stream.send_all(data.upper())

    async def run(self, path: Path, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(str(path))
            listener.listen()
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    sock, _ = await listener.accept()
                    nursery.start_soon(self.serve, trio.SocketStream(sock))


async def read_request(stream: trio.SocketStream) -> bytes:
    """A whole request with a sized body or none; empty at the end of the connection."""
    inbox = b""
    while True:
        head, end, body = inbox.partition(b"\r\n\r\n")
        length = next((line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        if end and len(body) >= int(length):
            return inbox
        try:
            data = await stream.receive_some(65536)
        except trio.ClosedResourceError:
            return b""
        if not data:
            return b""
        inbox += data


@asynccontextmanager
async def controlled(
    directory: Path, *answers: bytes, trusted_proxies: str = ""
) -> AsyncIterator[tuple[Gateway, FakeControl]]:
    control = FakeControl(list(answers))
    async with (
        run_gateway(directory, trusted_proxies=trusted_proxies) as gateway,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(control.run, directory / "run" / "control.sock")
        yield gateway, control
        nursery.cancel_scope.cancel()


async def get(gateway: Gateway, path: str = "/page", *lines: str, method: str = "GET", body: bytes = b"") -> Answer:
    caller = await gateway.connect()
    await caller.send(request(path, body, *lines, method=method))
    return await caller.read_answer()


async def test_control_learns_who_asked_and_takes_nobodys_word_for_it(tmp_path):
    async with controlled(tmp_path) as (gateway, control):
        lines = ("Cookie: session=1", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https", "X-Request-Id: page/1")
        answer = await get(gateway, "/page?x=%20y", *lines)
        assert (answer.status, answer.payload, answer.headers["x-request-id"]) == (200, b"{}", "page/1")
        asked = control.asked[0].decode()
        assert asked.startswith("GET /page?x=%20y HTTP/1.1\r\n")
        assert "cookie: session=1\r\n" in asked.lower()
        assert asked.count("x-forwarded-for: ") == 1
        assert "x-forwarded-for: 127.0.0.1\r\n" in asked
        assert "10.0.0.1" not in asked
        assert "x-forwarded-proto: http\r\n" in asked
        assert "https" not in asked
        assert "x-request-id: page/1\r\n" in asked


async def test_control_believes_what_a_trusted_proxy_says(tmp_path):
    async with controlled(tmp_path, trusted_proxies="127.0.0.0/8") as (gateway, control):
        await get(gateway, "/page", "X-Forwarded-For: 203.0.113.9, 198.51.100.7", "X-Forwarded-Proto: https")
        asked = control.asked[0].decode()
        assert "x-forwarded-for: 198.51.100.7\r\n" in asked
        assert "x-forwarded-proto: https\r\n" in asked
        assert "203.0.113.9" not in asked


async def test_a_body_arrives_whole_even_if_it_came_in_chunks(tmp_path):
    async with controlled(tmp_path) as (gateway, control):
        caller = await gateway.connect()
        await caller.send(
            b"POST /form HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )
        assert (await caller.read_answer()).status == 200
        assert control.asked[0].endswith(b"content-length: 6\r\n\r\nonetwo")
        assert b"chunked" not in control.asked[0]


async def test_controls_own_refusals_pass_as_they_are(tmp_path):
    refusal = b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nnope"
    async with controlled(tmp_path, refusal) as (gateway, _):
        answer = await get(gateway)
        assert (answer.status, answer.payload, answer.headers["content-type"]) == (404, b"nope", "text/plain")


async def test_without_control_it_is_503_with_when_to_come_back_and_the_connection_stays(tmp_path):
    async with run_gateway(tmp_path) as gateway:
        caller = await gateway.connect()
        for _ in range(2):
            await caller.send(request("/page", method="GET"))
            answer = await caller.read_answer()
            assert (answer.status, answer.json["error"]["code"]) == (503, "control_unavailable")
            assert answer.headers["retry-after"] == "1"


async def test_control_that_ends_with_a_request_in_hand_is_unavailable_not_a_backend(tmp_path):
    async with controlled(tmp_path, HANG_UP) as (gateway, control):
        answer = await get(gateway)
        assert (answer.status, answer.json["error"]["code"]) == (503, "control_unavailable")
        assert len(control.asked) == 1


async def test_a_connection_that_control_closed_while_idle_is_replaced_unseen(tmp_path):
    async with controlled(tmp_path) as (gateway, control):
        for _ in range(3):
            assert (await get(gateway)).status == 200
            await control.streams[-1].aclose()
        assert len(control.asked) == 3


@pytest.mark.parametrize(("method", "count"), [("POST", 1), ("PATCH", 1), ("PUT", 2), ("DELETE", 2)])
async def test_what_control_may_have_done_already_is_not_said_again(tmp_path, method: str, count: int):
    async with controlled(tmp_path, OK, HANG_UP, HANG_UP) as (gateway, control):
        assert (await get(gateway)).status == 200
        answer = await get(gateway, "/v0/keys", method=method, body=b"{}")
        assert (answer.status, answer.json["error"]["code"]) == (503, "control_unavailable")
        assert len(control.asked) == 1 + count


async def test_a_websocket_becomes_a_tunnel_in_both_directions(tmp_path):
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst"
    async with controlled(tmp_path, upgraded) as (gateway, control):
        caller = await gateway.connect()
        await caller.send(request("/live", b"", "Connection: Upgrade", "Upgrade: websocket", method="GET"))
        answer = await caller.read_answer()
        assert (answer.status, answer.headers["upgrade"]) == (101, "websocket")
        assert await caller.read_until(b"first") == b"first"
        await caller.send(b"ping")
        assert await caller.read_until(b"PING") == b"PING"
        assert b"upgrade: websocket" in control.asked[0]


async def test_nothing_follows_an_upgrade_that_was_refused(tmp_path):
    """On its connection to control: who refuses is between two protocols for a moment."""
    refusal = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope"
    async with controlled(tmp_path, OK, refusal, OK) as (gateway, control):
        assert (await get(gateway)).status == 200
        assert (await get(gateway, "/live", "Connection: Upgrade", "Upgrade: websocket")).status == 404
        assert (await get(gateway)).status == 200
        assert len(control.streams) == 2  # the third takes the first one's
        assert [b"upgrade: websocket" in asked for asked in control.asked] == [False, True, False]


async def test_an_upgrade_with_a_body_is_an_ordinary_request(tmp_path):
    async with controlled(tmp_path) as (gateway, control):
        lines = ("Connection: Upgrade", "Upgrade: websocket")
        assert (await get(gateway, "/live", *lines, body=b"hello")).status == 200
        assert b"upgrade" not in control.asked[0].lower()
        assert control.asked[0].endswith(b"\r\n\r\nhello")


async def test_control_is_offered_no_compression_of_messages(tmp_path):
    async with controlled(tmp_path) as (gateway, control):
        lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Extensions: permessage-deflate")
        assert (await get(gateway, "/live", *lines)).status == 200
        assert b"extensions" not in control.asked[0].lower()


async def test_who_says_more_in_a_tunnel_than_a_watcher_would_is_let_go(tmp_path):
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    async with controlled(tmp_path, upgraded) as (gateway, _):
        caller = await gateway.connect()
        await caller.send(request("/live", b"", "Connection: Upgrade", "Upgrade: websocket", method="GET"))
        assert (await caller.read_answer()).status == 101
        with trio.fail_after(5), pytest.raises((trio.BrokenResourceError, AssertionError)):
            for _ in range(10_000):
                await caller.send(b"x" * 1000)
                await trio.sleep(0)
            raise AssertionError("it took all of it")
        await wait_until(lambda: not gateway.door.clients)


async def test_an_upgrade_whose_client_leaves_before_its_answer_is_given_up(tmp_path, monkeypatch):
    """With its connection to control, which goes on sending."""
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"

    async def left(client: Client, data: bytes) -> None:
        raise Departed

    async with controlled(tmp_path, upgraded) as (gateway, control):
        monkeypatch.setattr(Client, "send_all", left)
        caller = await gateway.connect()
        await caller.send(request("/live", b"", "Connection: Upgrade", "Upgrade: websocket", method="GET"))
        assert await caller.read_to_end() == b""
        assert len(control.streams) == 1
        assert not gateway.stages.control.pool.open_connections


async def test_a_probe_of_http_1_0_needs_no_host(tmp_path):
    async with controlled(tmp_path) as (gateway, control):
        caller = await gateway.connect()
        await caller.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await caller.read_answer()).status == 200
        assert b"\r\nhost: gateway\r\n" in control.asked[0]


async def test_no_other_upgrade_is_passed_on(tmp_path):
    async with controlled(tmp_path) as (gateway, control):
        assert (await get(gateway, "/page", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")).status == 200
        assert b"upgrade" not in control.asked[0].lower()


async def test_pages_are_not_journalled(tmp_path):
    async with controlled(tmp_path) as (gateway, _):
        await get(gateway)
        assert gateway.records() == []
