"""Pure. OpenAPI 3.1 of the tables: paths, parameters, bodies, answers, who may; and of what the front door serves.

Schemas come from the msgspec Structs that requests are decoded by, so what is written is what is checked. quart-schema
was looked at and is not used: it reads decorators on Quart's handlers, of which there are none here, and knows no
problem+json, no conditions, no routes of another process (docs/design.md).
Source: https://spec.openapis.org/oas/v3.1.1.html (2024-10). Read next: `inference.py`; `../documentation.py`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from mrproxy.control.api.endpoint import JSON, Api, Endpoint
from mrproxy.control.api.inference import INFERENCE, Exchange
from mrproxy.control.api.problem import CODES, PROBLEM_JSON, ProblemBody, problem_json
from mrproxy.control.permissions import GRANTS, Permission, Role

Json = dict[str, Any]

REF = "#/components/schemas/{name}"
PUBLIC = GRANTS[Role.ANONYMOUS]
KEYS: list[Json] = [{"bearer": []}, {"apiKey": []}]
KEYS_AND_SESSION: list[Json] = [*KEYS, {"session": []}]
CONDITIONAL = frozenset({"PATCH", "PUT", "DELETE"})
TOO_LONG = "The path and its query are too long; said by the front door, in the words of OpenAI."
ANY_OBJECT: Json = {"type": "object"}

SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of /v0/auth/login."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in its own header."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-mrproxy_session",
        "description": "A browser that has signed in; what is no GET needs the header `X-CSRF-Token` as well.",
    },
}

_ARGUMENT = re.compile(r"\{(\w+)(?::path)?\}")


def document(apis: Sequence[Api], release: str) -> bytes:
    """The document, as JSON. The same tables make the same bytes."""
    schemas, components = schemas_of(apis)
    paths: dict[str, Json] = {}
    for exchange in INFERENCE:
        paths.setdefault(exchange.path, {})[exchange.method.lower()] = operation_of_exchange(exchange)
    for api in apis:
        for endpoint in api.endpoints:
            path = template_of(api.prefix + endpoint.path)
            paths.setdefault(path, {})[endpoint.method.lower()] = operation_of(api, endpoint, schemas)
    described: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "mrproxy",
            "version": release,
            "summary": "A gateway in front of LLM inference servers, and its administration",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": KEYS_AND_SESSION,
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": components, "responses": problems(), "securitySchemes": SCHEMES},
    }
    return msgspec.json.encode(described)


def schemas_of(apis: Iterable[Api]) -> tuple[dict[object, Json], Json]:
    """By type, and the named ones in full."""
    types = [ProblemBody]
    for api in apis:
        for endpoint in api.endpoints:
            types += [each for each in (endpoint.request, endpoint.answer) if each is not None]
    unique = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(unique, ref_template=REF)
    return dict(zip(unique, found, strict=True)), components


def operation_of(api: Api, endpoint: Endpoint, schemas: dict[object, Json]) -> Json:
    operation: Json = {
        "operationId": operation_id(endpoint.method, api.prefix + endpoint.path),
        "summary": endpoint.title,
        "tags": [endpoint.topic],
        "parameters": parameters_of(endpoint),
        "responses": responses_of(api, endpoint, schemas),
        "x-permission": endpoint.permission.value,
    }
    if endpoint.permission in PUBLIC:
        operation["security"] = []
    if endpoint.request is not None:
        operation["requestBody"] = {
            "required": bool(required_of(endpoint.request)),
            "content": {JSON: {"schema": schemas[endpoint.request]}},
        }
    return operation


def parameters_of(endpoint: Endpoint) -> list[Json]:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _ARGUMENT.findall(endpoint.path)
    ]
    if endpoint.query is not None:
        parameters += query_parameters(endpoint.query)
    if endpoint.method in CONDITIONAL:
        parameters.append(header("If-Match", "The ETag that the change is of; another one by now is a 412."))
    if endpoint.method == "POST":
        parameters.append(header("Idempotency-Key", "Sent twice, it is done once and answered alike, for 24 hours."))
    return parameters


def header(name: str, description: str) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def query_parameters(query: Any) -> list[Json]:
    schema = msgspec.json.schema(query, ref_template=REF)
    fields = msgspec.json.schema_components([query], ref_template=REF)[1][schema["$ref"].rpartition("/")[2]]
    required = fields.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required} | parameter_schema(field)
        for name, field in fields["properties"].items()
    ]


def parameter_schema(field: Json) -> Json:
    """A parameter that is left out is not there: there is no null in a query."""
    plain = {name: value for name, value in field.items() if name not in ("description", "default")}
    kinds = [each for each in plain.pop("anyOf", []) if each != {"type": "null"}]
    schema = plain | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})
    if field.get("default") is not None:
        schema["default"] = field["default"]
    return {"schema": schema} | ({"description": field["description"]} if "description" in field else {})


def responses_of(api: Api, endpoint: Endpoint, schemas: dict[object, Json]) -> Json:
    responses: Json = {str(endpoint.status): success_of(endpoint, schemas), "414": {"description": TOO_LONG}}
    codes = ["400", "413", "503"]
    codes += [] if endpoint.permission is Permission.PUBLIC else ["401", "403"]
    codes += ["404"] if "{" in endpoint.path or not endpoint.is_reading else []
    codes += ["415"] if endpoint.request is not None else []
    is_read = endpoint.request is not None or endpoint.query is not None or endpoint.method == "POST"
    codes += ["422"] if is_read or api.word is not problem_json else []  # others say so of arguments in paths, too
    codes += [] if endpoint.is_reading else ["409", "429"]
    codes += ["412"] if endpoint.method in CONDITIONAL else []
    if api.word is problem_json:
        return responses | {code: {"$ref": f"#/components/responses/{code}"} for code in sorted(codes)}
    return responses | {code: {"description": title_of(code)} for code in sorted(codes)}


def success_of(endpoint: Endpoint, schemas: dict[object, Json]) -> Json:
    if endpoint.status == 204:
        return {"description": "Done."}
    schema = schemas.get(endpoint.answer, {})
    return {"description": endpoint.title or "Done.", "content": {endpoint.content_type: {"schema": schema}}}


def problems() -> Json:
    content = {PROBLEM_JSON: {"schema": {"$ref": REF.format(name="ProblemBody")}}}
    statuses = sorted({str(status) for status, _ in CODES.values()})
    return {status: {"description": title_of(status), "content": content} for status in statuses}


def title_of(status: str) -> str:
    return "; ".join(title for known, title in CODES.values() if str(known) == status) + "."


def required_of(kind: Any) -> list[str]:
    return [field.name for field in msgspec.structs.fields(kind) if field.required]


def operation_of_exchange(exchange: Exchange) -> Json:
    """Bodies are those of the systems whose paths these are, and are documented by them."""
    operation: Json = {
        "operationId": operation_id(exchange.method, exchange.path),
        "summary": exchange.summary,
        "tags": [exchange.tag],
        "security": [] if exchange.is_public else KEYS,
        "responses": {
            "200": {
                "description": exchange.summary,
                "content": {each: {"schema": {}} for each in exchange.answers},
            },
            "default": {"description": "An error, in the words of the system whose path this is."},
        },
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _ARGUMENT.findall(exchange.path)
        ],
    }
    if exchange.takes:
        content = {each: {"schema": ANY_OBJECT if each == JSON else {}} for each in exchange.takes}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def template_of(path: str) -> str:
    return _ARGUMENT.sub(r"{\1}", path)


def operation_id(method: str, path: str) -> str:
    """`GET /admin/api/v1/users/{user}` → get_admin_api_v1_users_user."""
    return f"{method.lower()}_{'_'.join(re.findall(r'[A-Za-z0-9]+', template_of(path)))}"
