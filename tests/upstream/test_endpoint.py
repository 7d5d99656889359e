"""Where a server is, how it is reached, and what it is sent."""

import shutil
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import h11
import pytest
import trio

from mrproxy.upstream.endpoint import Endpoint
from mrproxy.wire.http1 import parse_request_head


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix", "shown"),
    [
        ("http://gpu:8000", "gpu", 8000, b"", "http://gpu:8000"),
        ("http://gpu", "gpu", 80, b"", "http://gpu:80"),
        ("https://gpu", "gpu", 443, b"", "https://gpu:443"),
        ("https://gpu/v1", "gpu", 443, b"", "https://gpu:443"),
        ("http://gpu:8000/v1/", "gpu", 8000, b"", "http://gpu:8000"),
        ("http://gpu:8000/llm/v1", "gpu", 8000, b"/llm", "http://gpu:8000/llm"),
        ("http://user:secret@gpu:8000/a", "gpu", 8000, b"/a", "http://gpu:8000/a"),
        ("http://[::1]:8000", "::1", 8000, b"", "http://[::1]:8000"),
    ],
)
def test_urls_of_servers(url: str, host: str, port: int, prefix: bytes, shown: str) -> None:
    endpoint = Endpoint(url)
    assert (endpoint.host, endpoint.port, endpoint.prefix, endpoint.shown) == (host, port, prefix, shown)


def test_urls_of_unix_sockets() -> None:
    for url in ("unix:/run/x.sock", "unix:///run/x.sock"):
        endpoint = Endpoint(url)
        assert (endpoint.unix_path, endpoint.prefix, endpoint.shown) == ("/run/x.sock", b"", url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gpu:8000",
        "ftp://gpu",
        "http://",
        "http:///v1",
        "http://:8000",
        "unix:",
        "http://gpu:port",
        "http://gpu:70000",
    ],
)
def test_what_is_no_url_of_a_server_is_an_error(url: str) -> None:
    with pytest.raises(ValueError):
        Endpoint(url)


def sent(url: str, raw: bytes, body: bytes = b"", request_id: bytes = b"id-1", key: str | None = None) -> h11.Request:
    """The request, as h11 reads it on the server's side; it must be one, whole."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(Endpoint(url, key).request(parse_request_head(raw, 100), body, request_id))
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    read = b""
    while isinstance(event := connection.next_event(), h11.Data):
        read += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert (read, connection.trailing_data[0]) == (body, b"")
    return request


RAW = (
    b"POST http://front/v1/chat/completions?a=b HTTP/1.1\r\n"
    b"Host: front\r\nAuthorization: Bearer mr_own\r\nAccept: */*\r\n\r\n"
)


def test_a_request_has_the_callers_headers_and_our_credentials_and_length() -> None:
    request = sent("http://gpu:8000/llm/v1", RAW, b"{}", key="backend-key")
    assert (request.method, request.target) == (b"POST", b"/llm/v1/chat/completions?a=b")
    assert dict(request.headers) == {
        b"host": b"gpu:8000",
        b"authorization": b"Bearer backend-key",
        b"accept": b"*/*",
        b"content-length": b"2",
    }


def test_without_a_key_of_its_own_a_server_gets_none() -> None:
    assert b"authorization" not in dict(sent("http://gpu", RAW).headers)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://gpu", b"gpu"),
        ("http://gpu:443", b"gpu:443"),
        ("https://gpu:80", b"gpu:80"),
        ("http://[::1]:8000", b"[::1]:8000"),
        ("unix:/run/x.sock", b"localhost"),
    ],
)
def test_the_host_is_the_servers(url: str, host: bytes) -> None:
    assert dict(sent(url, RAW).headers)[b"host"] == host


@pytest.mark.parametrize(
    ("request_id", "told"),
    [(b"a" * 32, True), (b"123e4567-e89b-12d3-a456-426614174000", True), (b"id-1", False), (b"a" * 128, False)],
)
def test_an_id_that_can_be_a_uuid_is_told(request_id: bytes, told: bool) -> None:
    assert (dict(sent("http://gpu", RAW, b"", request_id).headers).get(b"x-request-id") == request_id) is told


async def test_connecting_by_tcp_gives_a_plain_socket_that_does_not_block() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with trio.open_nursery() as nursery:
            endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}")
            with await endpoint.connect(nursery) as sock, listener.accept()[0] as far:
                assert sock.getblocking() is False
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                sock.send(b"x")
                assert far.recv(10) == b"x"


async def test_connecting_by_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        async with trio.open_nursery() as nursery:
            with await Endpoint(f"unix:{tmp_path}/x.sock").connect(nursery) as sock:
                assert sock.getblocking() is False


async def test_nobody_listening_is_an_os_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with trio.open_nursery() as nursery:
        for url in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}", f"unix:{tmp_path}/none.sock"):
            with pytest.raises(OSError):
                await Endpoint(url).connect(nursery)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 and its key in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to test with")
    folder = tmp_path_factory.mktemp("tls")
    where = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"), "-days", "2", "-nodes"]
    what = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=x"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", "-x509", *where, *what, *names], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both


async def _echo_once(listener: trio.SSLListener[trio.SocketStream]) -> None:
    stream = await listener.accept()
    with suppress(trio.BrokenResourceError):
        await stream.send_all(await stream.receive_some())
    await trio.aclose_forcefully(stream)


async def _tls_listener(certificate: Path) -> trio.SSLListener[trio.SocketStream]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    (listener,) = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    return listener


@pytest.mark.slow
async def test_tls_is_spoken_behind_a_plain_socket(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with await _tls_listener(certificate) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(_echo_once, listener)
        port = listener.transport_listener.socket.getsockname()[1]
        with await Endpoint(f"https://127.0.0.1:{port}").connect(nursery) as sock:
            sock.send(b"hello")
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(100) == b"hello"
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(100) == b""


@pytest.mark.slow
async def test_a_certificate_nobody_vouches_for_is_an_os_error(certificate: Path) -> None:
    async with await _tls_listener(certificate) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(_echo_once, listener)
        port = listener.transport_listener.socket.getsockname()[1]
        with pytest.raises(OSError, match="TLS handshake failed"):
            await Endpoint(f"https://127.0.0.1:{port}").connect(nursery)


@pytest.mark.slow
async def test_who_has_ended_while_hands_were_shaken_gets_no_socket(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with await _tls_listener(certificate) as listener, trio.open_nursery() as serving:
        serving.start_soon(_echo_once, listener)
        port = listener.transport_listener.socket.getsockname()[1]
        async with trio.open_nursery() as ended:
            ended.cancel_scope.cancel()
        with pytest.raises(OSError, match="has ended"):
            await Endpoint(f"https://127.0.0.1:{port}").connect(ended)
