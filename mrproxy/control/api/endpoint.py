"""Pure. One row of an API's table: method, path, who may, what is read, what is answered, who does it.

From these rows come the routes (`serving.py`), the OpenAPI document (`openapi.py`), docs/api.md and the test that asks
every route as every role. A module of endpoints has a tuple `ENDPOINTS`; an `Api` is a list of them below one prefix,
and how it words its problems.

    Endpoint("GET", "/users/{user}", Permission.USERS_READ, show_user, answer=UserShown)

Read next: `call.py`, for what a handler gets.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mrproxy.control.api.call import Call
from mrproxy.control.api.problem import Header, Word, problem_json
from mrproxy.control.permissions import Permission

JSON = "application/json"
READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a handler returns. `value` becomes JSON; with `content_type` it is bytes or text, sent as they are.

    `stream` sends pieces as they come. `version` becomes the ETag; `is_live`: values are shown that it does not count.
    `status` 0 is the endpoint's.
    """

    value: object = None
    status: int = 0
    headers: tuple[Header, ...] = ()
    version: int | None = None
    is_live: bool = False
    location: str = ""
    content_type: str = ""
    stream: AsyncIterator[bytes] | None = None


Handle = Callable[[Call[Any, Any]], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`request` and `query` are msgspec Structs; `answer` is what the JSON of a success looks like, for the document.

    `{name}` in a path is a segment, `{name:path}` may hold slashes. `publishes`: what it writes may concern the
    workers, so the snapshot is made anew before the answer; None: everything that is not reading does. Without a
    `summary` the first line of the handler's docstring is one, without a `tag` the first segment of the path.
    """

    method: str
    path: str
    permission: Permission
    handler: Handle
    request: Any = None
    query: Any = None
    answer: Any = None
    status: int = 200
    summary: str = ""
    tag: str = ""
    publishes: bool | None = None
    content_type: str = JSON

    @property
    def title(self) -> str:
        return self.summary or (self.handler.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def topic(self) -> str:
        return self.tag or self.path.split("/")[1]

    @property
    def is_reading(self) -> bool:
        return self.method in READING

    @property
    def must_publish(self) -> bool:
        return not self.is_reading if self.publishes is None else self.publishes


@dataclass(frozen=True, slots=True)
class Api:
    """Endpoints below one prefix, in one system's manners. `is_strict` refuses bodies that are not called JSON."""

    prefix: str
    endpoints: tuple[Endpoint, ...]
    word: Word = problem_json
    is_strict: bool = True
