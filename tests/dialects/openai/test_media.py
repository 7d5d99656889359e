"""Data URLs each way. Shapes: OpenAI API reference, "Images and vision", "File inputs" (2026)."""

import pytest

from mrproxy.canonical.conversation import File, Image
from mrproxy.dialects.openai.media import read_file, read_image, write_file, write_image
from mrproxy.errors import ClientError


@pytest.mark.parametrize(
    ("url", "image"),
    [
        ("data:image/png;base64,AAAA", Image("image/png", "AAAA")),
        ("DATA:image/png;charset=x;base64,AAAA", Image("image/png", "AAAA")),
        ("data:;base64,AAAA", Image("", "AAAA")),
        ("https://example.org/a.png", Image(url="https://example.org/a.png")),
        ("HTTP://example.org/a.png", Image(url="HTTP://example.org/a.png")),
    ],
)
def test_images_are_read(url: str, image: Image) -> None:
    assert read_image(url, None, "p") == image


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "data:image/png,AAAA", "data:image/png;base64", "/a.png", "AAAA"]
)
def test_no_other_url_is_read(url: str) -> None:
    with pytest.raises(ClientError) as caught:
        read_image(url, None, "messages[0].content[0].image_url.url")
    assert caught.value.param == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        ("iVBORw0KGgoAAA", "image/png"),
        ("/9j/4AAQ", "image/jpeg"),
        ("R0lGODlh", "image/gif"),
        ("UklGRiQ", "image/webp"),
        ("AAAA", "image/jpeg"),
    ],
)
def test_an_untyped_image_is_typed_by_its_beginning(data: str, media_type: str) -> None:
    assert write_image(Image(data=data)) == {
        "type": "image_url",
        "image_url": {"url": f"data:{media_type};base64,{data}"},
    }


def test_detail_is_kept() -> None:
    assert write_image(Image(url="https://x", detail="low"))["image_url"] == {"url": "https://x", "detail": "low"}


@pytest.mark.parametrize(
    ("said", "file"),
    [
        (("a.pdf", "data:application/pdf;base64,AAAA", ""), File("a.pdf", "application/pdf", "AAAA")),
        (("", "AAAA", ""), File(data="AAAA")),
        (("", "", "file-1"), File(file_id="file-1")),
    ],
)
def test_files_come_back(said: tuple[str, str, str], file: File) -> None:
    assert read_file(*said, "p") == file
    inner = write_file(file, "OpenAI's API", True, "p")["file"]
    name, data, file_id = said
    assert inner == {
        key: value for key, value in (("file_data", data), ("filename", name), ("file_id", file_id)) if value
    }


def test_a_file_needs_something_in_it() -> None:
    with pytest.raises(ClientError):
        read_file("a", "", "", "p")
    with pytest.raises(ClientError):
        read_file("a", "data:x,AAAA", "", "p")


def test_a_text_is_text_to_everyone_and_the_rest_to_those_who_can() -> None:
    assert write_file(File(text="hi"), "vLLM", False, "p") == {"type": "text", "text": "hi"}
    assert write_file(File("a.txt", text="hi"), "vLLM", False, "p") == {"type": "text", "text": "a.txt:\nhi"}
    for file, can in ((File(data="AAAA"), False), (File(url="https://x"), True)):
        with pytest.raises(ClientError) as caught:
            write_file(file, "it", can, "p")
        assert caught.value.param == "p"
