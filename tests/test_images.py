"""Fetching images over real connections on loopback: what is refused, what is bounded, and what is said of it."""

import base64
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from shutil import which

import h11
import pytest
import trio

from mrproxy.canonical.conversation import Image
from mrproxy.errors import ClientError, Code
from mrproxy.images import ImageFetcher, ImageLimits, is_permitted, is_public

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
GIF = b"GIF89a" + bytes(50)
LOOPBACK = (ip_network("127.0.0.1/32"),)
UNFETCHABLE = "could not be fetched: it must be at a public address, on port 80 or 443, and answer with status 200"
FOREVER = b"\0forever"


def answer(body: bytes, content_type: str = "image/png", status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in {"content_length": len(body), **headers}.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"", status=status, location=location, set_cookie="a=secret")


class Site:
    """Answers each path with fixed bytes; those that end with FOREVER leave the connection open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.pages: dict[str, bytes] = {}
        self.heads: list[list[str]] = []
        self.left = trio.Event()  # a client hung up before the end
        self.is_hanging = trio.Event()
        self.open = self.most_open = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self.answer(stream)
        except trio.BrokenResourceError:
            self.left.set()
        finally:
            self.open -= 1
            await trio.aclose_forcefully(stream)

    async def answer(self, stream: trio.abc.Stream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = await stream.receive_some()
            if not piece:
                return
            head += piece
        self.heads.append(head.decode().split("\r\n")[:-2])
        body = self.pages.get(head.split()[1].decode(), answer(b"", status="404 Not Found"))
        await stream.send_all(body.removesuffix(FOREVER))
        if body.endswith(FOREVER):
            self.is_hanging.set()
            await stream.receive_some()
            self.left.set()


@asynccontextmanager
async def run_site(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=host)
        site = Site(listeners[0].socket.getsockname()[1])
        serving = [trio.SSLListener(each, tls, https_compatible=True) for each in listeners] if tls else listeners
        nursery.start_soon(trio.serve_listeners, site.serve, serving)
        yield site
        nursery.cancel_scope.cancel()


def names(**addresses: str) -> Callable[[str, int], Sequence[str]]:
    """A name server: `inside="10.0.0.1 192.168.0.1"` says that inside.test has two addresses."""

    def resolve(host: str, port: int) -> Sequence[str]:
        name = host.removesuffix(".test")
        if name not in addresses and not name[0].isdigit():
            raise OSError("unknown name")
        return addresses.get(name, host).split()

    return resolve


async def refusal(fetcher: ImageFetcher, *urls: str) -> str:
    with trio.fail_after(10), pytest.raises(ClientError) as caught:
        await fetcher.fetch_all(urls)
    assert (caught.value.code, caught.value.param) == (Code.INVALID_FIELD, "messages")
    return caught.value.message


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with run_site() as site:
        yield site


@pytest.fixture
async def fetcher() -> AsyncIterator[ImageFetcher]:
    async with ImageFetcher(allowed=LOOPBACK) as fetcher:
        yield fetcher


# What is fetched


async def test_an_image_comes_as_base64_with_its_type(site: Site, fetcher: ImageFetcher) -> None:
    site.pages = {"/a?size=1": answer(PNG), "/b": answer(GIF, "image/gif; charset=binary")}
    a, b = site.url("/a?size=1"), site.url("/b")
    found = await fetcher.fetch_all([a, b, a])
    assert found == {
        a: Image(media_type="image/png", data=base64.b64encode(PNG).decode()),
        b: Image(media_type="image/gif", data=base64.b64encode(GIF).decode()),
    }
    assert len(site.heads) == 2


async def test_a_large_image_in_chunks_is_put_together(site: Site, fetcher: ImageFetcher) -> None:
    body = PNG + bytes(range(256)) * 2000
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1], body[1:5], body[5:])) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"
    site.pages["/a"] = head + chunks
    found = await fetcher.fetch_all([site.url("/a")])
    assert base64.b64decode(found[site.url("/a")].data) == body


async def test_other_names_of_a_type_are_known(site: Site, fetcher: ImageFetcher) -> None:
    site.pages["/a"] = answer(b"\xff\xd8\xff\xe0....", "image/jpg")
    assert (await fetcher.fetch_all([site.url("/a")]))[site.url("/a")].media_type == "image/jpeg"


async def test_nothing_to_fetch_is_nothing(fetcher: ImageFetcher) -> None:
    assert await fetcher.fetch_all([]) == {}


async def test_nothing_is_told_to_a_server_but_what_it_needs(
    site: Site, fetcher: ImageFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    site.pages = {"/a": redirect("/b?x=1"), "/b?x=1": answer(PNG)}
    await fetcher.fetch_all([site.url("/a#part")])
    assert [head[0] for head in site.heads] == ["GET /a HTTP/1.1", "GET /b?x=1 HTTP/1.1"]
    for head in site.heads:
        assert sorted(line.partition(":")[0] for line in head[1:]) == [
            "accept",
            "accept-encoding",
            "connection",
            "host",
            "user-agent",
        ]
        assert f"host: 127.0.0.1:{site.port}" in head


# Redirects


async def test_three_redirects_are_followed_and_a_fourth_is_not(site: Site, fetcher: ImageFetcher) -> None:
    site.pages = {f"/{n}": redirect(f"/{n + 1}", "301 Moved") for n in range(4)} | {"/4": answer(PNG)}
    assert await fetcher.fetch_all([site.url("/1")])
    assert "redirected more than 3 times" in await refusal(fetcher, site.url("/0"))


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/secret",
        "http://[::ffff:127.0.0.2]:{port}/secret",
        "http://inside.test:{port}/secret",
        "http://169.254.169.254/latest/meta-data",
        "http://user:word@127.0.0.1:{port}/a",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "http://[broken",
        "http://127.0.0.1:99999/",
    ],
)
async def test_a_redirect_to_where_we_do_not_go_is_not_followed(location: str) -> None:
    async with (
        run_site("127.0.0.1") as site,
        ImageFetcher(allowed=LOOPBACK, resolve=names(inside="10.0.0.1")) as fetcher,
    ):
        site.pages["/a"] = redirect(location.format(port=site.port))
        assert await refusal(fetcher, site.url("/a")) == f"the image at 127.0.0.1 {UNFETCHABLE}"
        assert len(site.heads) == 1


# Where we connect to


async def test_nobody_can_tell_refused_from_unreachable_from_not_found(site: Site, fetcher: ImageFetcher) -> None:
    refused = await refusal(fetcher, site.url("/a", "127.0.0.2"))
    missing = await refusal(fetcher, site.url("/a"))
    with trio.socket.socket() as silent:
        await silent.bind(("127.0.0.1", 0))
        unreachable = await refusal(fetcher, f"http://127.0.0.1:{silent.getsockname()[1]}/a")
    site.pages["/broken"] = b"SSH-2.0-OpenSSH_9.2\r\n"
    site.pages["/cut"] = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 500\r\n\r\n" + PNG
    broken, cut = await refusal(fetcher, site.url("/broken")), await refusal(fetcher, site.url("/cut"))
    assert {refused.replace("127.0.0.2", "127.0.0.1"), missing, unreachable, broken, cut} == {
        f"the image at 127.0.0.1 {UNFETCHABLE}"
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0"])
async def test_loopback_is_refused_however_it_is_written(host: str) -> None:
    async with run_site() as site, ImageFetcher() as fetcher:
        assert UNFETCHABLE in await refusal(fetcher, site.url("/a", host))
        assert site.heads == []


@pytest.mark.parametrize("addresses", ["10.0.0.7", "127.0.0.1 10.0.0.7", "fe80::1%eth0", "nonsense", ""])
async def test_a_name_is_refused_if_any_of_its_addresses_is(addresses: str) -> None:
    async with run_site() as site, ImageFetcher(allowed=LOOPBACK, resolve=names(mixed=addresses)) as fetcher:
        assert UNFETCHABLE in await refusal(fetcher, site.url("/a", "mixed.test"))
        assert site.heads == []


async def test_a_name_that_changes_its_address_after_the_check_changes_nothing(site: Site) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    site.pages["/a"] = answer(PNG)
    async with ImageFetcher(allowed=LOOPBACK, resolve=rebinding) as fetcher:
        assert await fetcher.fetch_all([site.url("/a", "moving.test")])
        assert f"host: moving.test:{site.port}" in site.heads[0]
        assert len(answers) == 1
        assert UNFETCHABLE in await refusal(fetcher, site.url("/b", "moving.test"))


async def test_the_next_address_is_tried_when_one_does_not_answer(site: Site) -> None:
    site.pages["/a"] = answer(PNG)
    resolve = names(two="127.0.0.3 127.0.0.1")
    async with ImageFetcher(allowed=(ip_network("127.0.0.0/8"),), resolve=resolve) as fetcher:
        assert await fetcher.fetch_all([site.url("/a", "two.test")])


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:secret@127.0.0.1/a",
        "ftp://127.0.0.1/a",
        "http:///a",
        "http://h:port/",
        "data:,x",
        "http://h:0/",
        "http://h/\ud800",
    ],
)
async def test_what_is_no_plain_address_is_the_callers_mistake(fetcher: ImageFetcher, url: str) -> None:
    words = await refusal(fetcher, url)
    assert words.startswith("the address of an image")
    assert "secret" not in words


async def test_errors_say_neither_path_nor_query(site: Site, fetcher: ImageFetcher) -> None:
    assert "token" not in await refusal(fetcher, site.url("/token?token=token"))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "172.31.0.1",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "100::1",
    ],
)
def test_addresses_that_are_somebodys_inside_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not is_permitted(ip_address(address), 443)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111", "2a00:1450::1"]
)
def test_public_addresses_are_permitted_on_the_ports_of_the_web(address: str) -> None:
    assert is_permitted(ip_address(address), 80)
    assert is_permitted(ip_address(address), 443)
    assert not is_permitted(ip_address(address), 22)


def test_an_allowed_network_is_permitted_on_any_port_and_in_any_spelling() -> None:
    allowed = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    for address in ("10.1.1.1", "::ffff:10.1.1.1", "fd12::1"):
        assert is_permitted(ip_address(address), 9000, allowed)
    assert not is_permitted(ip_address("192.168.0.1"), 80, allowed)


# What comes back


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (answer(PNG, "text/html"), "does not say that it is an image"),
        (answer(PNG, ""), "does not say that it is an image"),
        (answer(b"<html>hello</html>", "image/png"), "is not a PNG, JPEG, GIF, WebP or BMP"),
        (answer(b"", "image/png"), "is not a PNG, JPEG, GIF, WebP or BMP"),
        (answer(b"<svg/>", "image/svg+xml"), "is not a PNG, JPEG, GIF, WebP or BMP"),
        (answer(GIF, "image/png"), "is not of the type that its server says"),
        (answer(PNG, content_encoding="gzip", status="206 Partial Content"), UNFETCHABLE),
        (redirect(""), UNFETCHABLE),
    ],
)
async def test_a_lying_server_is_not_believed(site: Site, fetcher: ImageFetcher, page: bytes, words: str) -> None:
    site.pages["/a"] = page
    assert words in await refusal(fetcher, site.url("/a"))


async def test_what_says_that_it_is_too_large_is_not_read(site: Site) -> None:
    site.pages["/a"] = answer(PNG, content_length=1001) + FOREVER
    async with ImageFetcher(allowed=LOOPBACK, limits=ImageLimits(image_bytes=1000)) as fetcher:
        assert "too large: 1,000 bytes for one" in await refusal(fetcher, site.url("/a"))
        with trio.fail_after(5):
            await site.left.wait()


async def test_what_grows_too_large_is_cut_off(site: Site) -> None:
    site.pages["/a"] = answer(PNG + bytes(300_000), transfer_encoding="chunked").replace(b"content-length", b"x-length")
    head, _, body = site.pages["/a"].partition(b"\r\n\r\n")
    site.pages["/a"] = head + b"\r\n\r\n%x\r\n" % 900_000 + body + FOREVER
    async with ImageFetcher(allowed=LOOPBACK, limits=ImageLimits(image_bytes=100_000)) as fetcher:
        assert "too large" in await refusal(fetcher, site.url("/a"))
        with trio.fail_after(5):
            await site.left.wait()


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_an_image_in_tiny_pieces_is_refused(site: Site) -> None:
    site.pages["/a"] = CHUNKED + b"1\r\nx\r\n" * 50_000 + FOREVER
    async with ImageFetcher(allowed=LOOPBACK, limits=ImageLimits(seconds=2)) as fetcher:
        assert await refusal(fetcher, site.url("/a")) == "the image at 127.0.0.1 comes in pieces that are too small"
        with trio.fail_after(5):
            await site.left.wait()


async def test_an_image_in_many_pieces_of_some_size_is_put_together(site: Site, fetcher: ImageFetcher) -> None:
    body = PNG.ljust(512, b"x") + b"x" * 512 * 1_500
    pieces = b"".join(b"200\r\n%b\r\n" % body[at : at + 512] for at in range(0, len(body), 512))
    site.pages["/a"] = CHUNKED + pieces + b"0\r\n\r\n"
    found = await fetcher.fetch_all([site.url("/a")])
    assert base64.b64decode(found[site.url("/a")].data) == body


@pytest.mark.parametrize(
    "page",
    [
        b"HTTP/1.1 102 \r\n\r\n" * 20_000 + FOREVER,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000 + FOREVER,
    ],
    ids=["interim", "lines"],
)
async def test_a_head_without_end_is_refused(site: Site, page: bytes) -> None:
    site.pages["/a"] = page
    async with ImageFetcher(allowed=LOOPBACK, limits=ImageLimits(seconds=2)) as fetcher:
        assert UNFETCHABLE in await refusal(fetcher, site.url("/a"))


@pytest.mark.parametrize(
    "page",
    [
        CHUNKED + b"1\r\nx\r\n" * 1_000 + b"0\r\n\r\n",
        b"HTTP/1.1 102 \r\n\r\n" * 20_000 + FOREVER,
    ],
    ids=["pieces", "interim"],
)
async def test_others_have_their_turn_between_pieces(
    site: Site, fetcher: ImageFetcher, monkeypatch: pytest.MonkeyPatch, page: bytes
) -> None:
    """What one read brings would else be worked through in one go: tens of thousands of events."""
    turn, worked = 0, Counter[int]()
    next_event = h11.Connection.next_event

    def next_event_counted(connection: h11.Connection) -> object:
        worked[turn] += 1
        return next_event(connection)

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await trio.lowlevel.checkpoint()

    monkeypatch.setattr(h11.Connection, "next_event", next_event_counted)
    site.pages["/a"] = page
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await refusal(fetcher, site.url("/a"))
        nursery.cancel_scope.cancel()
    assert worked.total() > 1_000
    assert max(worked.values()) < 250


async def test_the_images_of_a_request_have_a_limit_together(site: Site) -> None:
    site.pages = {f"/{n}": answer(PNG) for n in range(3)}
    async with ImageFetcher(allowed=LOOPBACK, limits=ImageLimits(total_bytes=2 * len(PNG))) as fetcher:
        assert len(await fetcher.fetch_all([site.url("/0"), site.url("/1")])) == 2
        assert "for all of a request" in await refusal(fetcher, *(site.url(f"/{n}") for n in range(3)))


async def test_more_images_than_may_be_are_refused_before_any_is_fetched(site: Site) -> None:
    async with ImageFetcher(allowed=LOOPBACK, limits=ImageLimits(images=2)) as fetcher:
        assert "more than 2 images" in await refusal(fetcher, *(site.url(f"/{n}") for n in range(3)))
        assert site.heads == []


# Time and number


@pytest.mark.parametrize("page", [FOREVER, answer(PNG, content_length=500) + FOREVER])
async def test_a_slow_server_is_given_up(site: Site, page: bytes) -> None:
    site.pages["/a"] = page
    async with ImageFetcher(allowed=LOOPBACK, limits=ImageLimits(seconds=0.05)) as fetcher:
        assert "longer than 0.05 seconds" in await refusal(fetcher, site.url("/a"))
        with trio.fail_after(5):
            await site.left.wait()


@pytest.mark.parametrize("page", [FOREVER, answer(PNG, content_length=500) + FOREVER])
async def test_a_caller_that_leaves_leaves_no_connection(site: Site, fetcher: ImageFetcher, page: bytes) -> None:
    site.pages["/a"] = page
    site.pages["/b"] = answer(PNG)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetcher.fetch_all, [site.url("/a")])
            await site.is_hanging.wait()
            nursery.cancel_scope.cancel()
        await site.left.wait()
        assert await fetcher.fetch_all([site.url("/b")])


async def test_one_failure_ends_the_other_fetches(site: Site, fetcher: ImageFetcher) -> None:
    site.pages["/slow"] = FOREVER
    assert UNFETCHABLE in await refusal(fetcher, site.url("/slow"), site.url("/missing"))


async def test_connections_are_bounded_over_all_requests(site: Site) -> None:
    site.pages = {f"/{n}": answer(PNG) for n in range(12)}
    async with ImageFetcher(allowed=LOOPBACK, limits=ImageLimits(connections=2)) as fetcher:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for n in range(0, 12, 3):
                    nursery.start_soon(fetcher.fetch_all, [site.url(f"/{n + each}") for each in range(3)])
    assert len(site.heads) == 12
    assert site.most_open <= 2


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For images.test, signed by itself."""
    if which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to test with")
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    what = ["-subj", "/CN=images.test", "-addext", "subjectAltName=DNS:images.test", "-days", "2", "-nodes"]
    where = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", "req", "-x509", *where, *what], check=True, capture_output=True)
    return cert, key


async def test_tls_is_checked_against_the_name_not_the_address(certificate: tuple[Path, Path]) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*certificate)
    trust = ssl.create_default_context(cafile=certificate[0])
    resolve = names(images="127.0.0.1", other="127.0.0.1")
    async with (
        run_site(tls=served) as site,
        ImageFetcher(allowed=LOOPBACK, resolve=resolve, ssl_context=trust) as fetcher,
    ):
        site.pages["/a"] = answer(PNG)
        good = site.url("/a", "images.test").replace("http:", "https:")
        assert await fetcher.fetch_all([good])
        assert UNFETCHABLE in await refusal(fetcher, good.replace("images", "other"))
    async with run_site(tls=served) as site, ImageFetcher(allowed=LOOPBACK, resolve=resolve) as fetcher:
        assert UNFETCHABLE in await refusal(fetcher, site.url("/a", "images.test").replace("http:", "https:"))
