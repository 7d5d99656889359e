"""Shell. An API's table as routes of a Quart application: from a request to a call, from an answer to a response.

The order is that of what a stranger may learn: who asks (401), whether he may (403), what he sends (400, 413, 415,
422), then the handler. Whatever goes wrong is a `Problem`, worded by the API; a bug is left to Quart, which logs it.
After a change the workers get a new snapshot before the answer is sent, so that it is in force when somebody reads
that it was made.
Read next: `reading.py` (what is accepted), `failures.py` (what storage says), `idempotency.py` (requests sent twice).
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import trio
from quart import Request, Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from mrproxy.control.api.actor import Actor, anonymous
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import JSON, Answer, Api, Endpoint
from mrproxy.control.api.failures import STORAGE_ERRORS, problem_of
from mrproxy.control.api.plane import Plane
from mrproxy.control.api.problem import Problem, problem_of_status
from mrproxy.control.api.reading import check_media_type, decode_body, decode_query, is_text, version_of
from mrproxy.control.permissions import GRANTS, Role

# A worker looks at the snapshot four times a second and is told besides: later than this one of them hangs.
PUBLISH_SECONDS = 1.0
CONDITIONAL = frozenset({"PATCH", "PUT", "DELETE"})
PUBLIC = GRANTS[Role.ANONYMOUS]
MAX_STRANGERS_BODY_BYTES = 1 << 16
# Said to whoever must do that before anything else; another system has a code for it.
PASSWORD_DUE = "A new password must be chosen first."

Around = Callable[[Endpoint, Call[Any, Any], bytes], Awaitable[Answer]]
"""What carries out a call; the body as it came is for telling requests apart."""

_ARGUMENT = re.compile(r"\{(?P<name>\w+)(?P<deep>:path)?\}")


def mount(app: QuartTrio, api: Api, plane: Plane, carry_out: Around | None = None) -> None:
    """Add the routes of all endpoints. `carry_out` stands around every handler."""
    for endpoint in api.endpoints:
        view = partial(serve, api, endpoint, plane, carry_out or handle)
        name = f"{endpoint.method} {api.prefix}{endpoint.path}".replace(".", "·")  # a dot would mean a blueprint
        rule = rule_of(api.prefix + endpoint.path)
        app.add_url_rule(rule, endpoint=name, view_func=view, methods=[endpoint.method])


def rule_of(path: str) -> str:
    """`/users/{user}` → Werkzeug's `/users/<user>`."""
    return _ARGUMENT.sub(lambda found: f"<{'path:' if found['deep'] else ''}{found['name']}>", path)


async def serve(api: Api, endpoint: Endpoint, plane: Plane, carry_out: Around, **arguments: str) -> Response:
    """One request of one endpoint."""
    request_id = request_id_of(request)
    try:
        actor = await identified(endpoint, plane, request, request_id)
        check_permission(endpoint, actor)
        body = await request.get_data()
        assert isinstance(body, bytes)  # as_text was not asked for
        check_size(endpoint, body)
        call = read_call(api, endpoint, plane, actor, body, arguments)
        answer = await carry_out(endpoint, call, body)
        return respond(endpoint, answer)
    except Problem as problem:
        return respond_problem(api, problem, request_id)
    except HTTPException as exc:
        refused = problem_of_status(exc.code or 500, exc.description or exc.name)
        return respond_problem(api, refused, request_id)


async def identified(endpoint: Endpoint, plane: Plane, asked: Request, request_id: str) -> Actor:
    """Where nobody need say who he is, credentials that are wrong do not matter: they may be of yesterday's cookie."""
    try:
        return await plane.identify(asked)
    except Problem:
        if endpoint.permission not in PUBLIC:
            raise
        return anonymous(asked.headers.get("X-Forwarded-For", ""), request_id)


def check_size(endpoint: Endpoint, body: bytes) -> None:
    """Raises Problem. What anybody may say is a name and a password; to read a body of the largest size takes long."""
    if endpoint.permission in PUBLIC and len(body) > MAX_STRANGERS_BODY_BYTES:
        raise Problem("too-large", f"At most {MAX_STRANGERS_BODY_BYTES} bytes are read here.")


def check_permission(endpoint: Endpoint, actor: Actor) -> None:
    if endpoint.permission in actor.permissions:
        return
    if not actor.is_known:
        raise Problem("not-authenticated", "Sign in, or send an API key: 'Authorization: Bearer <key>'.")
    if actor.is_password_due:
        raise Problem("forbidden", PASSWORD_DUE)
    raise Problem("forbidden", f"This needs the permission {endpoint.permission.value}.")


def read_call(
    api: Api, endpoint: Endpoint, plane: Plane, actor: Actor, body: bytes, arguments: dict[str, str]
) -> Call[Any, Any]:
    """Raises Problem."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    if not all(is_text(value) for value in arguments.values()):
        raise Problem("not-found", "There is nothing at this path.")
    wanted = None
    if endpoint.request is not None:
        if body and api.is_strict:
            check_media_type(headers.get("content-type", ""))
        wanted = decode_body(body, endpoint.request)
    query = None if endpoint.query is None else decode_query(request.args.items(multi=True), endpoint.query)
    return Call(
        actor=actor,
        plane=plane,
        request=wanted,
        query=query,
        path=arguments,
        headers=headers,
        url=request.full_path.rstrip("?"),
        version=version_of(headers.get("if-match", "")) if endpoint.method in CONDITIONAL else None,
    )


async def handle(endpoint: Endpoint, call: Call[Any, Any], _: bytes = b"") -> Answer:
    """Run the handler, then publish what it wrote. Raises Problem."""
    try:
        answer = await endpoint.handler(call)
    except STORAGE_ERRORS as exc:
        raise problem_of(exc, is_conditional=call.version is not None) from exc
    if endpoint.must_publish:
        with trio.move_on_after(PUBLISH_SECONDS):
            await call.plane.publish()
    return answer


def respond(endpoint: Endpoint, answer: Answer) -> Response:
    status = answer.status or endpoint.status
    response = Response("" if status == 204 else encoded(answer), status=status)
    if answer.stream is not None:
        response.timeout = None  # Quart's would cut it off after a minute, and it would look whole
    response.headers["Content-Type"] = answer.content_type or JSON
    if status == 204:
        del response.headers["Content-Type"]
    for name, value in answer.headers:
        response.headers.add(name, value)
    if answer.location:
        response.headers["Location"] = answer.location
    if answer.version is not None:
        response.headers["ETag"] = etag_of(answer)
        if endpoint.is_reading and response.headers["ETag"] in tags_of(request.headers.get("If-None-Match", "")):
            return not_modified(response)
    return response


def encoded(answer: Answer) -> Any:
    if answer.stream is not None:
        return answer.stream
    if answer.content_type:
        return answer.value
    return msgspec.json.encode(answer.value)


def etag_of(answer: Answer) -> str:
    """`"<version>"`; where live values are shown beside, their digest behind it, which `If-Match` does not look at."""
    if not answer.is_live:
        return f'"{answer.version}"'
    digest = hashlib.blake2b(msgspec.json.encode(answer.value), digest_size=6).hexdigest()
    return f'"{answer.version}.{digest}"'


def tags_of(if_none_match: str) -> set[str]:
    """Compared weakly (RFC 9110 §13.1.2): whether a tag is called weak does not matter."""
    return {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}


def not_modified(response: Response) -> Response:
    kept = {name: response.headers[name] for name in ("ETag", "Link") if name in response.headers}
    return Response("", status=304, headers=kept)


def respond_problem(api: Api, problem: Problem, request_id: str) -> Response:
    body, content_type = api.word(problem, request_id)
    response = Response(body, status=problem.status, content_type=content_type)
    for name, value in problem.headers:
        response.headers.add(name, value)
    return response


def request_id_of(asked: Request) -> str:
    """The front door's. A caller on the Unix socket may send its own."""
    return asked.headers.get("X-Request-Id", "")
