"""Pure. `response_format`: OpenAI's, and llama.cpp's two shorter ways to write a schema.

Sources: OpenAI API reference, "Structured outputs" (2026); llama.cpp tools/server/README.md (2026).
"""

from typing import Literal

import msgspec

from mrproxy.canonical.conversation import FormatKind, ResponseFormat
from mrproxy.dialects.openai.fields import is_said, missing

# OpenAI demands a name; other dialects have none.
_UNNAMED = "response"


class JsonSchema(msgspec.Struct):
    schema: msgspec.Raw = msgspec.Raw()
    name: str = ""
    strict: bool | None = None
    description: str | None = None


class Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema: msgspec.Raw = msgspec.Raw()


def read_format(asked: Format | None) -> ResponseFormat | None:
    if asked is None:
        return None
    if asked.type == "text":
        return ResponseFormat(FormatKind.TEXT)
    given = asked.json_schema if asked.json_schema is not None else JsonSchema(schema=asked.schema)
    if not is_said(given.schema):
        if asked.type == "json_schema":
            raise missing("response_format.json_schema.schema")
        return ResponseFormat(FormatKind.JSON_OBJECT)
    return ResponseFormat(FormatKind.JSON_SCHEMA, given.schema, given.name, given.strict, given.description)


def write_format(wanted: ResponseFormat) -> dict[str, object]:
    match wanted.kind:
        case FormatKind.TEXT:
            return {"type": "text"}
        case FormatKind.JSON_OBJECT:
            return {"type": "json_object"}
        case FormatKind.JSON_SCHEMA:
            schema: dict[str, object] = {"name": wanted.name or _UNNAMED, "schema": wanted.schema}
            if wanted.strict is not None:
                schema["strict"] = wanted.strict
            if wanted.description is not None:
                schema["description"] = wanted.description
            return {"type": "json_schema", "json_schema": schema}
