"""Images in requests: what is taken as base64, what is told by its first bytes, and addresses found and replaced.

Signatures: WHATWG MIME Sniffing §6.1; data URLs: RFC 2397 (its own example among them).
"""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.conversation import ChatRequest, File, Image, Message, Role, Text, TextRequest, ToolResult
from mrproxy.dialects.media import (
    DataUrl,
    clean_base64,
    data_url_of,
    encode_base64,
    file_of_data,
    find_urls,
    image_of_base64,
    image_of_url,
    parse_data_url,
    size_bytes,
    sniff,
    sniff_base64,
    with_images,
)
from mrproxy.errors import ClientError
from tests.fuzzing import fuzz, mutated

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
GIF = b"GIF89a" + bytes(20)
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(20)
BMP = b"BM" + bytes(20)
KINDS = {"image/png": PNG, "image/jpeg": JPEG, "image/gif": GIF, "image/webp": WEBP, "image/bmp": BMP}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("media_type", KINDS)
def test_an_image_is_known_by_its_first_bytes(media_type: str) -> None:
    assert sniff(KINDS[media_type]) == media_type
    assert sniff_base64(b64(KINDS[media_type])) == media_type


@pytest.mark.parametrize("data", [b"", b"\x89PN", b"<svg xmlns='x'/>", b"RIFF\0\0\0\0WAVEfmt ", b"\0\0\0\x20ftypavif"])
def test_what_engines_cannot_read_is_no_image(data: bytes) -> None:
    assert sniff(data) == ""


def test_a_data_url_becomes_its_data() -> None:
    image = image_of_url(f"data:image/png;base64,{b64(PNG)}", detail="low")
    assert image == Image(media_type="image/png", data=b64(PNG), detail="low")
    assert data_url_of(image) == f"data:image/png;base64,{b64(PNG)}"


@pytest.mark.parametrize(("data", "media_type"), [("iVBORw0KGgo=", "image/png"), ("AAAA", "image/jpeg")])
def test_a_data_url_always_has_some_type_of_image(data: str, media_type: str) -> None:
    assert data_url_of(Image(data=data)) == f"data:{media_type};base64,{data}"


@pytest.mark.parametrize(
    ("data", "file"),
    [
        ("data:application/pdf;base64,AAAA", File("a", "application/pdf", "AAAA")),
        ("data:text/plain,h%69", File("a", "text/plain", "aGk=")),
        ("AAA", File("a", data="AAA=")),
    ],
)
def test_a_file_is_a_data_url_or_bare_base64(data: str, file: File) -> None:
    assert file_of_data(data, "a", "p") == file


@pytest.mark.parametrize("data", ["", "?", "data:a/b;base64,?", "data:a/b;base64"])
def test_a_file_that_is_neither_is_refused(data: str) -> None:
    with pytest.raises(ClientError) as caught:
        file_of_data(data, "a", "input[0]")
    assert caught.value.param == "input[0]"


def test_a_web_address_stays_one_whatever_its_case() -> None:
    for url in ("https://example.com/a.png?x=1", "HTTP://example.com/"):
        assert image_of_url(url) == Image(url=url)
        assert data_url_of(Image(url=url)) == url


@pytest.mark.parametrize("url", ["", "ftp://x/y", "file:///etc/passwd", "/a.png", "javascript:1", "data", "blob:x"])
def test_no_other_address_is_an_image(url: str) -> None:
    with pytest.raises(ClientError) as caught:
        image_of_url(url, "messages[0].content[1].image_url")
    assert caught.value.param == "messages[0].content[1].image_url"
    assert caught.value.status == 400


def test_the_first_bytes_win_over_the_label() -> None:
    assert image_of_url(f"data:image/png;base64,{b64(JPEG)}").media_type == "image/jpeg"
    assert image_of_url(f"data:;base64,{b64(GIF)}").media_type == "image/gif"
    assert image_of_base64(b64(WEBP), media_type="application/octet-stream").media_type == "image/webp"


def test_a_label_counts_where_the_bytes_say_nothing() -> None:
    assert image_of_base64(b64(b"\0\0\0\x20ftypavif"), media_type="IMAGE/AVIF").media_type == "image/avif"
    assert image_of_base64(b64(b"who knows")).media_type == ""
    with pytest.raises(ClientError, match="not an image"):
        image_of_url(f"data:text/plain;base64,{b64(b'hello')}")


def test_data_urls_of_any_type_are_parsed() -> None:
    assert parse_data_url("data:,A%20brief%20note") == DataUrl("", b64(b"A brief note"))
    assert parse_data_url("DATA:Application/PDF;name=x.pdf;BASE64,JVBERi0=") == DataUrl("application/pdf", "JVBERi0=")
    assert parse_data_url("data:text/plain;charset=utf-8;base64,aGk%3D") == DataUrl("text/plain", "aGk=")


@pytest.mark.parametrize(
    "url", ["data:image/png;base64", "data:", "data:image/png;base64,", "data:;base64,%FF%FE", "x"]
)
def test_a_broken_data_url_is_the_callers_mistake(url: str) -> None:
    with pytest.raises(ClientError):
        parse_data_url(url)


@pytest.mark.parametrize("url", ["data:image/png,", "data:,"])
def test_an_image_without_bytes_is_none(url: str) -> None:
    with pytest.raises(ClientError, match="is empty"):
        image_of_url(url)


def test_line_breaks_and_missing_padding_are_put_right() -> None:
    assert clean_base64("aGVs\r\nbG8") == "aGVsbG8="
    assert clean_base64(" aGVs bG8= \n") == "aGVsbG8="


@pytest.mark.parametrize("data", ["", "=", "a", "aGV*", "a=Gk", "aGk-_w==", "aGk\u00e9", "\ud800", "aGk=aGk="])
def test_what_is_not_base64_is_refused(data: str) -> None:
    with pytest.raises(ClientError):
        clean_base64(data)


@given(st.binary(min_size=1))
def test_clean_base64_is_the_same_bytes_and_its_size_is_known(data: bytes) -> None:
    text = b64(data)
    assert encode_base64(data) == text
    assert clean_base64(text) is text
    assert base64.b64decode(clean_base64(text.rstrip("=")), validate=True) == data
    assert size_bytes(text) == len(data)


REQUEST = ChatRequest(
    model="m",
    messages=(
        Message(Role.USER, (Text("see"), Image(url="https://a/1"), Image(media_type="image/png", data="AAAA"))),
        Message(Role.TOOL, (ToolResult("c", (Image(url="http://b/2", detail="high"), File(url="https://f"))),)),
        Message(Role.USER, (Image(url="https://a/1"),)),
    ),
)
FOUND = {"https://a/1": Image(media_type="image/png", data=b64(PNG)), "http://b/2": Image("image/gif", b64(GIF))}


def test_addresses_are_found_in_messages_and_tool_results_once_each() -> None:
    assert find_urls(REQUEST) == ("https://a/1", "http://b/2")
    assert find_urls(TextRequest(model="m", prompts=("p",), raw=False, images=(Image(url="https://a/1"),))) == (
        "https://a/1",
    )
    assert find_urls(ChatRequest(model="m", messages=())) == ()


def test_found_images_take_the_place_of_their_addresses_and_keep_the_detail() -> None:
    before = repr(REQUEST)
    replaced = with_images(REQUEST, FOUND)
    assert find_urls(replaced) == ()
    assert replaced.messages[0].parts[1:] == (FOUND["https://a/1"], Image(media_type="image/png", data="AAAA"))
    assert replaced.messages[1].parts == (
        ToolResult("c", (Image("image/gif", b64(GIF), detail="high"), File(url="https://f"))),
    )
    assert repr(REQUEST) == before
    assert with_images(REQUEST, {}) == REQUEST


def test_images_of_a_text_request_are_replaced() -> None:
    request = TextRequest(model="m", prompts=("p",), raw=False, images=(Image(url="https://a/1"), Image(data="AAAA")))
    assert with_images(request, FOUND).images == (FOUND["https://a/1"], Image(data="AAAA"))


def parse_anything(data: bytes) -> None:
    try:
        image = image_of_url(data.decode("utf-8", "replace"))  # JSON has no lone surrogates
    except ClientError:
        return
    assert image.url or base64.b64decode(image.data, validate=True)


EXAMPLES = [b"data:image/png;base64,iVBORw0KGgo=", b"data:text/plain,a%20b", b"https://a/b"]
FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"media": parse_anything}


@given(mutated(EXAMPLES, [b"%", b";", b"=", b","]))
@fuzz(150)
def test_no_address_raises_anything_but_the_callers_mistake(data: bytes) -> None:
    parse_anything(data)
