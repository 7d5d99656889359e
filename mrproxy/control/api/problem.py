"""Pure. What goes wrong with a request, as one exception, and its wording as `application/problem+json` (RFC 9457).

`Problem` is said by status and code; a handler raises it, an `Api` words it: ours as below, the APIs of other
systems in theirs. `type` is a URN of the code, which is stable; `instance` is the request id, to be looked for in logs.
Read next: `failures.py`, for what storage raises.
"""

from collections.abc import Callable
from http import HTTPStatus

import msgspec

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:mrproxy:problem:"
REALM = 'Bearer realm="mrproxy"'

Header = tuple[str, str]

# Every code, with the status that it goes with. docs/api.md shows this table.
CODES: dict[str, tuple[int, str]] = {
    "malformed": (400, "The request cannot be read"),
    "not-authenticated": (401, "Who you are is not known"),
    "bad-credentials": (401, "These credentials are not valid"),
    "forbidden": (403, "You may not do this"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This method is not allowed here"),
    "too-slow": (408, "The request came too slowly"),
    "conflict": (409, "It contradicts what there is"),
    "configured": (409, "It is set in the configuration"),
    "changed": (412, "It has been changed in the meantime"),
    "too-large": (413, "The body is too large"),
    "media-type": (415, "The body is of a type that is not read here"),
    "invalid": (422, "A value cannot be accepted"),
    "key-reused": (422, "The idempotency key belongs to another request"),
    "precondition-required": (428, "The request must be conditional"),
    "too-many": (429, "Too many requests"),
    "internal": (500, "An error of the gateway"),
    "backend": (502, "A backend or sidecar did not answer as it should"),
    "database": (503, "The database is not available"),
    "no-database": (503, "This gateway has no database"),
    "unavailable": (503, "Not available at the moment"),
}


class Detail(msgspec.Struct, frozen=True):
    """`pointer` is a JSON pointer into the body, or the name of a query parameter behind `?`."""

    pointer: str
    detail: str


class Problem(Exception):
    """`code` is one of CODES; `detail` is a sentence for the one who asked, without secrets."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: tuple[Detail, ...] = (),
        headers: tuple[Header, ...] = (),
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status, self.title = CODES[code]
        self.detail = detail
        self.errors = errors
        retry = () if retry_seconds is None else (("Retry-After", str(max(1, round(retry_seconds)))),)
        challenge = (("WWW-Authenticate", REALM),) if self.status == HTTPStatus.UNAUTHORIZED else ()
        self.headers: tuple[Header, ...] = (*headers, *retry, *challenge)


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 §3.1, and `errors`: what exactly is wrong where."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: tuple[Detail, ...] = ()


Word = Callable[[Problem, str], tuple[bytes, str]]
"""A problem and the request's id → body and content type: how one system says that something is wrong."""


def problem_json(problem: Problem, request_id: str) -> tuple[bytes, str]:
    body = ProblemBody(
        type=TYPE_PREFIX + problem.code,
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        instance=request_id,
        errors=problem.errors,
    )
    return msgspec.json.encode(body), PROBLEM_JSON


def problem_of_status(status: int, detail: str) -> Problem:
    """For what the HTTP server itself refuses."""
    for code, (known, _) in CODES.items():
        if known == status:
            return Problem(code, detail)
    return Problem("internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "malformed", detail)
