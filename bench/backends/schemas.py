"""Pure. A small instance of a JSON schema, the same one every time: what a constrained engine could have sampled.

Required properties only (all of them where none is required), first alternative, first value of an enum; a string is
the name of its property where length, format and pattern allow. Not a validator, and not all of JSON Schema: what
OpenAI's strict mode, Pydantic and the agents' tool definitions use. A `pattern` is tried against a few candidates.
"""

import re
from typing import Any

Json = Any
_FORMATS = {
    "date-time": "2026-01-15T10:00:00Z",
    "date": "2026-01-15",
    "time": "10:00:00Z",
    "duration": "PT1H",
    "email": "mock@example.com",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_PATTERN_CANDIDATES = (
    "a",
    "A",
    "1",
    "abc",
    "ABC",
    "123",
    "a1",
    "2026-01-15",
    "1.0",
    "abc123",
    "",
    "a@b.cd",
    "+1",
    "#fff",
)
# Deeper than this, a recursive schema takes its shortest way out.
MAX_DEPTH = 6


def make_instance(schema: Json, name: str = "value") -> Json:
    """A value that fits `schema`; `name` is what strings say that may say anything."""
    return _make(schema, schema, name, 0)


def break_instance(schema: Json) -> Json:
    """A value that is JSON and does not fit; schemas that everything fits have none, and get an object."""
    resolved = _resolve(schema, schema)
    wants_object = isinstance(resolved, dict) and (resolved.get("type") == "object" or "properties" in resolved)
    return ["broken"] if wants_object else {"broken": True}


def _resolve(schema: Json, root: Json) -> Json:
    """Follow `$ref` within the document; a reference that leads nowhere allows everything."""
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, dict) or "$ref" not in schema:
            return schema
        found = root
        for part in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        schema = found or (root if schema["$ref"] == "#" else {})
    return {}


def _make(schema: Json, root: Json, name: str, depth: int) -> Json:
    schema = _resolve(schema, root)
    if not isinstance(schema, dict):
        return name
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _make(_merge(schema, _alternative(schema[key], depth)), root, name, depth)
    if schema.get("allOf"):
        merged = schema
        for part in schema["allOf"]:
            merged = _merge(merged, _resolve(part, root))
        return _make(merged, root, name, depth)
    return _make_typed(_type_of(schema, depth), schema, root, name, depth)


def _alternative(alternatives: list[Json], depth: int) -> Json:
    """The first, or when it is deep enough the one that ends: null."""
    if depth >= MAX_DEPTH // 2:
        return next(
            (item for item in alternatives if isinstance(item, dict) and item.get("type") == "null"), alternatives[0]
        )
    return alternatives[0]


def _merge(schema: dict[str, Json], part: Json) -> dict[str, Json]:
    """`schema` with one of its alternatives or parts in it."""
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf", "allOf")}
    if not isinstance(part, dict):
        return rest
    merged = rest | part
    if "properties" in rest and "properties" in part:
        merged["properties"] = rest["properties"] | part["properties"]
    if "required" in rest and "required" in part:
        merged["required"] = [*rest["required"], *part["required"]]
    return merged


def _type_of(schema: dict[str, Json], depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return "null" if depth >= MAX_DEPTH // 2 and "null" in kind else str(kind[0])
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _make_typed(kind: str, schema: dict[str, Json], root: Json, name: str, depth: int) -> Json:
    if kind == "object":
        return _make_object(schema, root, depth)
    if kind == "array":
        return _make_array(schema, root, name, depth)
    if kind in ("integer", "number"):
        return _make_number(schema, is_whole=kind == "integer")
    if kind == "boolean":
        return True
    return None if kind == "null" else _make_string(schema, name)


def _make_object(schema: dict[str, Json], root: Json, depth: int) -> dict[str, Json]:
    properties = schema.get("properties") or {}
    names = schema.get("required")
    if names is None:
        names = list(properties) if depth < MAX_DEPTH else []
    return {name: _make(properties.get(name, {}), root, name, depth + 1) for name in names}


def _make_array(schema: dict[str, Json], root: Json, name: str, depth: int) -> list[Json]:
    made = [_make(item, root, name, depth + 1) for item in schema.get("prefixItems") or ()]
    wanted = max(int(schema.get("minItems", 0)), 1 if depth < MAX_DEPTH // 2 else 0)
    wanted = min(wanted, int(schema.get("maxItems", wanted)))
    while len(made) < wanted:
        item = _make(schema.get("items") or {}, root, name, depth + 1)
        made.append(_vary(item, len(made)) if schema.get("uniqueItems") else item)
    return made


def _vary(item: Json, number: int) -> Json:
    if isinstance(item, str):
        return f"{item}{number}" if number else item
    return item + number if isinstance(item, int | float) and not isinstance(item, bool) else item


def _make_number(schema: dict[str, Json], is_whole: bool) -> int | float:
    step = schema.get("multipleOf") or 1
    low = schema.get("minimum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(above, int | float):
        low = above + (step if is_whole else _gap(above, schema.get("maximum", below)))
    high = schema.get("maximum")
    if isinstance(below, int | float):
        high = below - (step if is_whole else _gap(low if low is not None else below - 2, below))
    value: int | float = 1 if is_whole else 1.5
    if low is not None and value < low:
        value = low
    if high is not None and value > high:
        value = high
    if schema.get("multipleOf"):
        value = -(-value // step) * step
    return int(value) if is_whole else value


def _gap(low: float, high: Json) -> float:
    return (high - low) / 2 if isinstance(high, int | float) else 1.0


def _make_string(schema: dict[str, Json], name: str) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    shortest, longest = int(schema.get("minLength", 0)), schema.get("maxLength")
    value = name
    if schema.get("pattern"):
        pattern = re.compile(schema["pattern"])
        candidates = (name, *_PATTERN_CANDIDATES, *(char * max(shortest, 1) for char in "aA1"))
        value = next((text for text in candidates if pattern.search(text)), name)
    if len(value) < shortest:
        value += "x" * (shortest - len(value))
    return value if longest is None else value[: int(longest)]
