"""Pure. docs/api.md: how to ask, and every endpoint in one line. `python -m mrproxy.control` prints it.

The lines come from the tables, so what is written is what is served; a test compares the file.
"""

from collections.abc import Iterable, Sequence

from mrproxy.control.api.endpoint import Api, Endpoint
from mrproxy.control.api.inference import INFERENCE
from mrproxy.control.api.openapi import template_of
from mrproxy.control.api.problem import CODES, TYPE_PREFIX
from mrproxy.control.permissions import GRANTS, SCOPES, Permission, Role

INTRODUCTION = """\
# The API

Printed by `python -m mrproxy.control > docs/api.md`: the tables below are those that are served.

A running gateway shows the same with all fields: `/docs` (Swagger UI), `/redoc`, and as a document `/openapi.json`
(OpenAPI 3.1). They need no internet and no key.

## Who asks

| with | how | for |
|---|---|---|
| an API key | `Authorization: Bearer mr_…`, or `X-API-Key: mr_…` | programs; may what its user and its scopes allow |
| a session | the cookie of `POST /admin/api/v1/session` or of the page `/login`; what is no `GET` needs the header \
`X-CSRF-Token` as well | browsers |
| a token | `Authorization: Bearer …` of `POST /v0/auth/login` | programs of llmlb |
| nothing | the Unix socket `data_dir/run/control.sock` | the owner of the data directory, who may everything |

    curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8000/admin/api/v1/users
    curl --unix-socket mrproxy-data/run/control.sock http://mrproxy/admin/api/v1/users

Keys have the scope `inference` unless said otherwise, and administer nothing then. A scope takes away; it never gives \
what the user may not.

## Conventions of `/admin/api/v1`

- **JSON** in UTF-8, called `application/json`. A misspelt field is an error (422), not ignored. Moments are RFC 3339 \
in UTC, ids are text, amounts are whole numbers of tokens.
- **Sources.** What stands in the configuration is shown with `"source": "configuration"` and changed there: here it \
is a 409. What is managed here has `"source": "managed"`. Of one name, the configured one holds \
(`"is_overridden": true` at the other).
- **In force.** When a change is answered, the workers have it (or a second has passed and they get it soon after).
- **Pages.** `?limit=` (1 to 500, usually 100) and `?cursor=`; the answer is `{"items": […], "next_cursor": …}`, with \
`Link: <…>; rel="next"` until the last page. A cursor is text to be kept as it is.
- **PATCH** is a JSON merge patch (RFC 7396): what is not named stays, `null` takes away, limits are merged one by one.
- **Versions.** One entity comes with an `ETag`; with `If-Match` a change is made only to that version, and is a 412 \
when somebody else was quicker. Without it the last one wins. `If-None-Match` saves sending what has not changed.
- **Twice.** A `POST` with an `Idempotency-Key` (up to 255 characters of your choice) is done once: sent again within \
24 hours it gets the same answer, with `Idempotent-Replayed: true`. With another body it is a 422; while the first one \
still runs, a 409. Answers that show a new key are repeated too, and are kept encrypted under the data directory's \
secret until then.
- **Secrets** are shown once, in the answer that made them: keys, codes of invitations. Backends' keys are never shown.
- **The audit log** has every change, written in the same transaction.
- **Without a database** (`records = false`, or while it is away) what needs one is a 503 with `Retry-After`; what is \
configured, `/status`, `/queue` and `/settings` are there, and keys of the snapshot are recognised.

## What goes wrong

`application/problem+json` (RFC 9457). `type` is stable, `detail` is a sentence for people, `instance` is the request \
id, which the logs have as well, and `errors` says what is wrong where, by JSON pointer or `?parameter`.

    {"type": "urn:mrproxy:problem:invalid", "title": "A value cannot be accepted", "status": 422,
     "detail": "Expected `int` >= 1 (/limits/token_budget).", "instance": "4f0c…",
     "errors": [{"pointer": "/limits/token_budget", "detail": "Expected `int` >= 1"}]}
"""


def reference(apis: Sequence[Api]) -> str:
    """The whole document."""
    parts = [
        INTRODUCTION,
        rows(("type", "status", "title"), problem_rows()),
        "## Roles and scopes\n",
        "Administrators and auditors are so by their group, and are members as well.\n",
        rows(("permission", "roles", "scopes"), permission_rows()),
        "## Endpoints\n",
        "Of several systems, below one port. Bodies and answers: `/docs`.\n",
    ]
    for api in apis:
        parts += [f"### `{api.prefix or '/'}`\n", rows(("", "", "permission"), endpoint_rows(api))]
    parts += ["### Inference\n", rows(("", "", ""), inference_rows())]
    return "\n".join(parts)


def rows(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def problem_rows() -> Iterable[Sequence[str]]:
    return ((f"`{TYPE_PREFIX}{code}`", str(status), title) for code, (status, title) in CODES.items())


def permission_rows() -> Iterable[Sequence[str]]:
    for permission in Permission:
        roles = [role.value for role in Role if permission in GRANTS[role]]
        scopes = [f"`{scope}`" for scope, granted in SCOPES.items() if permission in granted]
        everybody = Role.ANONYMOUS.value in roles
        yield f"`{permission.value}`", "everybody" if everybody else ", ".join(roles), ", ".join(scopes)


def endpoint_rows(api: Api) -> Iterable[Sequence[str]]:
    ordered = sorted(api.endpoints, key=lambda each: (each.path, ORDER.index(each.method)))
    return ((f"`{each.method} {template_of(each.path)}`", each.title, permission_of(each)) for each in ordered)


def inference_rows() -> Iterable[Sequence[str]]:
    return ((f"`{each.method} {each.path}`", each.summary, each.tag) for each in INFERENCE)


def permission_of(endpoint: Endpoint) -> str:
    return "–" if endpoint.permission in GRANTS[Role.ANONYMOUS] else f"`{endpoint.permission.value}`"


ORDER = ("GET", "POST", "PUT", "PATCH", "DELETE")
