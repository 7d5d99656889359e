"""Forms: the fields are where they are, and whatever another reader may see differently is refused.

The oracle is the standard library's reader of MIME, which is lenient: what we accept it must read as we do.
"""

import email.parser
import email.policy
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.wire.multipart import parse_boundary, scan_form
from tests.fuzzing import fuzz, mutated

BOUNDARY = b"d41d8cd98f00b204"
DISPOSITION = b'Content-Disposition: form-data; name="%b"'


def part(name: bytes, content: bytes, *lines: bytes, more: bytes = b"") -> bytes:
    head = b"\r\n".join([DISPOSITION % name + more, *lines])
    return b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY, head, content)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--%b--\r\n" % BOUNDARY


AUDIO = part(b"file", b"RIFF\x00\r\n--\xff", b"Content-Type: audio/wav", more=b'; filename="a.wav"')
WHOLE = form(part(b"model", b"whisper"), AUDIO, part(b"timestamp_granularities[]", b"word"), part(b"prompt", b""))


def read(body: bytes) -> list[tuple[str, bytes, bool]]:
    return [(field.name, body[field.start : field.end], field.is_file) for field in scan_form(body, BOUNDARY)]


def test_fields_are_found_where_they_are() -> None:
    assert read(WHOLE) == [
        ("model", b"whisper", False),
        ("file", b"RIFF\x00\r\n--\xff", True),
        ("timestamp_granularities[]", b"word", False),
        ("prompt", b"", False),
    ]


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n\r\n"])
def test_line_ends_may_follow_and_a_form_may_be_empty(end: bytes) -> None:
    assert read(b"--%b--%b" % (BOUNDARY, end)) == []


@pytest.mark.parametrize(
    "head",
    [
        DISPOSITION % b"model",
        b"content-disposition:form-data;name=model",
        b'Content-Disposition: Form-Data; name="model"',
        b'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="model"',
        b'Content-Disposition: form-data; name="model"\r\nContent-Length: 1',
    ],
)
def test_heads_as_clients_write_them(head: bytes) -> None:
    (field,) = scan_form(b"--%b\r\n%b\r\n\r\nm\r\n--%b--\r\n" % (BOUNDARY, head, BOUNDARY), BOUNDARY)
    assert (field.name, field.is_file, field.is_plain) == ("model", False, True)


@pytest.mark.parametrize(
    "more",
    [
        b'; filename="a b;c=d.wav"',
        b"; filename=a.wav",
        b'; filename=""',
        b"; filename*=utf-8''%C3%A9.wav",
        b'; filename="C:\\x.wav"',
        b"; filename=\"\xc3\xa9.wav\"; filename*=utf-8''x",
    ],
)
def test_what_has_a_file_name_is_a_file(more: bytes) -> None:
    assert read(form(part(b"file", b"x", more=more))) == [("file", b"x", True)]


@pytest.mark.parametrize(
    ("line", "is_plain"),
    [
        (b"Content-Type: text/plain", True),
        (b"Content-Type: text/plain; charset=UTF-8", True),
        (b"Content-Type: text/plain; charset=utf-16", False),
        (b"Content-Transfer-Encoding: base64", False),
        (b"Content-Transfer-Encoding: binary", False),
    ],
)
def test_what_readers_decode_is_not_plain(line: bytes, is_plain: bool) -> None:
    (field,) = scan_form(form(part(b"model", b"m", line)), BOUNDARY)
    assert field.is_plain is is_plain


ODD = {
    "nothing": b"",
    "another boundary": WHOLE.replace(BOUNDARY, b"other"),
    "a preamble": b"\r\n" + WHOLE,
    "an epilogue": WHOLE + b"x",
    "no end": WHOLE.removesuffix(b"--%b--\r\n" % BOUNDARY),
    "half an end": WHOLE.removesuffix(b"--\r\n"),
    "only its boundary": b"--" + BOUNDARY,
    "line feeds": WHOLE.replace(b"\r\n", b"\n"),
    "a line feed before a boundary": form(part(b"model", b"m")).replace(b"m\r\n--", b"m\n--"),
    "a boundary after a line feed in a file": form(part(b"a", b"x\n--%b\ny" % BOUNDARY)),
    "a boundary after a carriage return": form(part(b"a", b"x\r--%b\ry" % BOUNDARY)),
    "more on the line of a boundary": WHOLE.replace(BOUNDARY + b"\r\n", BOUNDARY + b" \r\n", 1),
    "a longer boundary in a file": form(part(b"a", b"x\r\n--%bx\r\ny" % BOUNDARY)),
    "its boundary all over a file": form(part(b"a", (b"x--" + BOUNDARY) * 1000)),
    "no head": b"--%b\r\n\r\nm\r\n--%b--" % (BOUNDARY, BOUNDARY),
    "an empty head": b"--%b\r\n\r\n\r\nm\r\n--%b--" % (BOUNDARY, BOUNDARY),
    "no content": b"--%b\r\n%b\r\n\r\n--%b--" % (BOUNDARY, DISPOSITION % b"model", BOUNDARY),
    "a head without an end": b"--%b\r\n%b\r\n--%b--" % (BOUNDARY, DISPOSITION % b"model", BOUNDARY),
    "a long head": form(part(b"a", b"", b"X: " + b"y" * 9000)),
    "a folded line": form(part(b"a", b"", b" folded: 1")),
    "a line feed in a head": form(part(b"a", b"", b"X: 1\nY: 2")),
    "no colon": form(part(b"a", b"", b"X")),
    "two dispositions": form(part(b"a", b"", DISPOSITION % b"model")),
    "two types": form(part(b"a", b"", b"Content-Type: a/b", b"content-type: a/c")),
    "an attachment": WHOLE.replace(b"form-data", b"attachment", 1),
    "no name": WHOLE.replace(b'; name="model"', b'; filename="model"'),
    "an empty name": form(part(b"", b"")),
    "two names": form(part(b"a", b"", more=b'; name="model"')),
    "names in two cases": form(part(b"a", b"", more=b'; NAME="model"')),
    "an encoded name": form(part(b"a", b"", more=b"; name*=utf-8''model")),
    "an escaped name": form(part(b"mod\\el", b"")),
    "a name in percents": form(part(b"mod%65l", b"")),
    "an escaped quote": form(part(b"a", b"", more=b'; filename="\\"; name=\\"model"')),
    "an escape at the end": form(part(b"a", b"", more=b'; filename="\\"')),
    "a quote in the middle": form(part(b"a", b"", more=b'; filename=a"b"')),
    "no mark between": form(part(b"a", b"", more=b' filename="b"')),
    "thousands of fields": form(*[part(b"a", b"")] * 1001),
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_what_is_odd_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        scan_form(body, BOUNDARY)


def test_a_boundary_in_the_middle_of_a_line_is_content() -> None:
    assert read(form(part(b"a", b"x--%b--\r\n" % BOUNDARY))) == [("a", b"x--%b--\r\n" % BOUNDARY, False)]


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data;boundary="a:b c"', None),
        (b'Multipart/Form-Data;boundary="a:b/c"', b"a:b/c"),
        (b"multipart/form-data; boundary=----WebKitFormBoundaryx; charset=UTF-8", b"----WebKitFormBoundaryx"),
        (b"multipart/form-data; charset=utf-16; boundary=abc", None),
        (b"multipart/form-data; boundary=abc; boundary=abd", None),
        (b"multipart/form-data; BOUNDARY=abc; boundary=abd", None),
        (b"multipart/form-data; boundary=" + b"a" * 70, b"a" * 70),
        (b"multipart/form-data; boundary=" + b"a" * 71, None),
        (b"multipart/form-data; boundary=", None),
        (b'multipart/form-data; boundary="', None),
        (b"multipart/form-data; boundary*0=abc", None),
        (b"multipart/form-data; boundary", None),
        (b"multipart/form-data", None),
        (b"multipart/mixed; boundary=abc", None),
        (b"application/json", None),
        (b"", None),
        (None, None),
    ],
)
def test_the_boundary_is_said_once_and_plainly(kind: bytes | None, boundary: bytes | None) -> None:
    assert parse_boundary(kind) == boundary


_NAMES = st.sampled_from([b"model", b"file", b"stream", b"image[]", b"a.b-c_1"])
_CONTENTS = st.binary(max_size=60) | st.sampled_from([b"", b"\r\n", b"--", b"\r\n--", b"\r", b"\n"])


@given(st.lists(st.tuples(_NAMES, _CONTENTS, st.booleans()), max_size=6))
def test_what_is_written_is_found(fields: list[tuple[bytes, bytes, bool]]) -> None:
    parts = [part(name, content, more=b'; filename="f"' if is_file else b"") for name, content, is_file in fields]
    assert read(form(*parts)) == [(name.decode(), content, is_file) for name, content, is_file in fields]


def read_leniently(body: bytes) -> list[tuple[object, bytes]]:
    """By the standard library, which takes any line end, and more."""
    head = b"Content-Type: multipart/form-data; boundary=%b\r\n\r\n" % BOUNDARY
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(head + body)
    payload = message.get_payload()
    found: list[tuple[object, bytes]] = []
    for each in payload if isinstance(payload, list) else []:
        content = str(each._payload).encode("ascii", "surrogateescape")  # `get_payload` decodes it
        found.append((each.get_param("name", header="content-disposition"), content))
    return found


def look(body: bytes) -> None:
    """Invariant: nothing but ValueError; in what is accepted a lenient reader finds the same fields."""
    try:
        fields = scan_form(body, BOUNDARY)
    except ValueError:
        return
    assert all(0 < field.start <= field.end < len(body) for field in fields)
    lenient = read_leniently(body)
    assert [name for name, _ in lenient] == [field.name for field in fields]
    for (_, content), field in zip(lenient, fields, strict=True):
        assert content == body[field.start : field.end]


_SNIPPETS = [b"\r\n", b"\n", b"\r", b"--", BOUNDARY, b"--" + BOUNDARY, b"\r\n--" + BOUNDARY, b'"', b"\\", b";", b"="]
_SNIPPETS += [b'name="model"', b'; name="model"', b"\xff", b":", b"*", DISPOSITION % b"model", b"\r\n\r\n", b"\0", b" "]


@fuzz(150)
@given(mutated([WHOLE, form(part(b"model", b"m"), AUDIO)], _SNIPPETS) | st.binary(max_size=100))
def test_what_is_accepted_a_lenient_reader_reads_the_same(body: bytes) -> None:
    look(body)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"multipart": look}
