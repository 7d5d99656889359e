"""Nothing that one connection says ends the control plane for the others."""

import os

import pytest
import trio

from tests.control.conftest import Control

UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
NOWHERE = b"GET /nothing HTTP/1.1\r\nHost: control\r\n" + UPGRADE + KEY
LIVE = b"GET /status/live HTTP/1.1\r\nHost: control\r\n" + UPGRADE + KEY
HOSTILE = {
    "another request behind a refused upgrade": NOWHERE + b"\r\nGET /healthz HTTP/1.1\r\nHost: control\r\n\r\n",
    "an upgrade with a body": NOWHERE + b"Content-Length: 5\r\n\r\nhello",
    "an upgrade with chunks": NOWHERE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "an upgrade without its key": b"GET /status/live HTTP/1.1\r\nHost: control\r\n" + UPGRADE + b"\r\nmore",
    "frames before the 101": LIVE + b"\r\n\x81\x05hello",
    "a frame that cannot be": LIVE + b"\r\n\xff\xff\xff\xff\xff\xff",
    "another protocol, asked for": b"GET / HTTP/1.1\r\nHost: c\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\x00\x00",
    "another protocol, assumed": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    "a wrong length": b"POST /login HTTP/1.1\r\nHost: c\r\nContent-Length: 3\r\n\r\n" + b"x" * 100,
    "a broken chunk": b"POST /login HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no request at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a path that is not ASCII": "GET /é HTTP/1.1\r\nHost: c\r\n\r\n".encode(),
    "a host that is not ASCII": "GET / HTTP/1.1\r\nHost: é\r\n\r\n".encode(),
}


async def test_a_connection_ends_with_its_client(control: Control) -> None:
    """Its descriptor, too: Hypercorn's would stay until the keep-alive timeout."""
    asked = [b"GET %b HTTP/1.1\r\nHost: c\r\n\r\n" % path for path in (b"/healthz", b"/nothing")] + [NOWHERE + b"\r\n"]
    before = len(os.listdir("/proc/self/fd"))
    for raw in asked * 5:
        async with await control.open_stream() as stream:
            await stream.send_all(raw)
            await stream.receive_some()
    with trio.fail_after(5):
        while len(os.listdir("/proc/self/fd")) > before:
            await trio.sleep(0.01)


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("breath_seconds", [0.0, 0.01], ids=["at once", "after a while"])
async def test_one_connection_ends_no_other(control: Control, raw: bytes, breath_seconds: float) -> None:
    async with await control.open_stream() as other:
        head_end = raw.find(b"\r\n\r\n") + 4
        for _ in range(5):  # whether its end finds the answer half sent is a matter of chance
            async with await control.open_stream() as stream:
                await stream.send_all(raw[:head_end])
                await trio.sleep(breath_seconds)
                try:
                    await stream.send_all(raw[head_end:])
                    with trio.move_on_after(0.05):
                        while await stream.receive_some():
                            pass
                except trio.BrokenResourceError:
                    pass  # it had closed the connection: as well an answer as any
        await other.send_all(b"GET /healthz HTTP/1.1\r\nHost: control\r\n\r\n")
        with trio.fail_after(5):
            assert (await other.receive_some()).startswith(b"HTTP/1.1 200 ")
    assert (await control.client.get("/healthz")).status_code == 200
