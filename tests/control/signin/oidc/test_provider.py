"""Asking a provider that does not answer, or too much."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from mrproxy.config import Oidc
from mrproxy.control.signin.oidc import provider as module
from mrproxy.control.signin.oidc.provider import Provider, ProviderFailed, error_in, form_encoded

pytestmark = pytest.mark.slow

HEAD = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@asynccontextmanager
async def answering(make: Callable[[], bytes]) -> AsyncIterator[Provider]:
    """A provider that answers every request with these bytes, and then closes or hangs."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(make())
            if make() == b"":
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield Provider(Oidc(name="x", issuer=f"http://127.0.0.1:{port}", client_id="c"), lambda: 0.0)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (HEAD % 500 + b"\r\n", "answers 500"),
        (HEAD % 400 + b'\r\n{"error": "invalid_client"}', r"answers 400 \(invalid_client\)"),
        (HEAD % 302 + b"Location: http://127.0.0.1:1/\r\n\r\n", "answers 302"),
        (HEAD % 200 + b"\r\n<html>", "cannot be read"),
        (b"garbage\r\n\r\n", "RemoteProtocolError"),
        (HEAD % 200 + b"Content-Length: 100\r\n\r\n{", "RemoteProtocolError"),
    ],
)
async def test_what_is_no_answer_is_a_failure_in_one_line(answer: bytes, why: str) -> None:
    async with answering(lambda: answer) as provider:
        with pytest.raises(ProviderFailed, match=why) as caught:
            await provider.describe()
        assert "\n" not in str(caught.value)


async def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1000)
    async with answering(lambda: HEAD % 200 + b"\r\n" + b"x" * 5000) as provider:
        with pytest.raises(ProviderFailed, match="more than 1000 bytes"):
            await provider.describe()


async def test_a_provider_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.05)
    async with answering(lambda: b"") as provider:
        with pytest.raises(ProviderFailed, match="TooSlowError"):
            await provider.describe()


async def test_nobody_there_is_a_failure_too() -> None:
    provider = Provider(Oidc(name="x", issuer="http://127.0.0.1:9", client_id="c"), lambda: 0.0)
    with pytest.raises(ProviderFailed, match="ConnectError"):
        await provider.describe()


def test_the_word_of_an_error_is_shown_if_it_is_one() -> None:
    assert error_in(b'{"error": "invalid_grant"}') == " (invalid_grant)"
    for other in (b"", b"[]", b'{"error": 1}', b'{"error": "a\\nb"}', b'{"error": "' + b"x" * 100 + b'"}'):
        assert error_in(other) == ""


def test_basic_is_encoded_as_in_a_form() -> None:
    assert form_encoded("a b:%&+ü") == "a+b%3A%25%26%2B%C3%BC"
