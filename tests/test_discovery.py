"""Shell. Engines on this machine: what answers like one is one."""

from functools import partial

import trio

from mrproxy import discovery
from mrproxy.config import Backend
from mrproxy.discovery import find_engines

PAGES = {
    "ollama": {"/api/version": b'{"version":"0.12.0"}', "/api/tags": b'{"models":[]}', "/api/ps": b'{"models":[]}'},
    "vllm": {"/health": b"", "/v1/models": b'{"object":"list","data":[{"id":"m","object":"model","owned_by":"vllm"}]}'},
    "stranger": {"/": b"<html>"},
}


async def answer(pages: dict[str, bytes], stream: trio.SocketStream) -> None:
    async with stream:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = await stream.receive_some()
            if not piece:
                return
            data += piece
        body = pages.get(data.split()[1].decode())
        status = b"404 Not Found" if body is None else b"200 OK"
        head = b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (status, len(body or b""))
        await stream.send_all(head + (body or b""))


async def test_engines_are_found_by_what_they_answer(monkeypatch):
    monkeypatch.setattr(discovery, "ANSWER_SECONDS", 20)  # a busy machine changes no answer
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            ports: dict[str, int] = {}
            for name, pages in PAGES.items():
                (listener,) = await nursery.start(partial(trio.serve_tcp, partial(answer, pages), 0, host="127.0.0.1"))
                ports[name] = listener.socket.getsockname()[1]
            (closed,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            unused = closed.socket.getsockname()[1]
            await closed.aclose()
            found = await find_engines([ports["stranger"], unused, ports["vllm"], ports["ollama"]])
            nursery.cancel_scope.cancel()
    assert found == tuple(
        Backend(kind=kind, url=f"http://127.0.0.1:{ports[kind]}", name=f"{kind}-{ports[kind]}")
        for kind in ("vllm", "ollama")
    )


async def test_a_port_that_accepts_and_says_nothing_is_given_up(autojump_clock):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    assert await find_engines([listener.socket.getsockname()[1]]) == ()
    await listener.aclose()
