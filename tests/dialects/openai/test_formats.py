"""`response_format` each way. Shapes: OpenAI API reference (2026), llama.cpp tools/server/README.md (2026)."""

import msgspec
import pytest

from mrproxy.canonical.conversation import FormatKind, ResponseFormat
from mrproxy.dialects.openai.formats import Format, read_format, write_format
from mrproxy.errors import ClientError

SCHEMA = msgspec.Raw(b'{"type":"object"}')


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b'{"type":"text"}', ResponseFormat(FormatKind.TEXT)),
        (b'{"type":"json_object"}', ResponseFormat(FormatKind.JSON_OBJECT)),
        (b'{"type":"json_object","schema":null}', ResponseFormat(FormatKind.JSON_OBJECT)),
        (b'{"type":"json_object","schema":{"type":"object"}}', ResponseFormat(FormatKind.JSON_SCHEMA, SCHEMA)),
        (b'{"type":"json_schema","schema":{"type":"object"}}', ResponseFormat(FormatKind.JSON_SCHEMA, SCHEMA)),
        (
            b'{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}}',
            ResponseFormat(FormatKind.JSON_SCHEMA, SCHEMA, "n", True),
        ),
    ],
)
def test_each_way_to_ask_is_understood(said: bytes, expected: ResponseFormat) -> None:
    assert read_format(msgspec.json.decode(said, type=Format)) == expected


def test_a_schema_that_is_missing_is_missed() -> None:
    with pytest.raises(ClientError) as caught:
        read_format(Format("json_schema"))
    assert caught.value.param == "response_format.json_schema.schema"
    assert read_format(None) is None


def test_a_schema_without_a_name_gets_one() -> None:
    assert msgspec.json.encode(write_format(ResponseFormat(FormatKind.JSON_SCHEMA, SCHEMA))) == (
        b'{"type":"json_schema","json_schema":{"name":"response","schema":{"type":"object"}}}'
    )
