"""Pure. llmlb's manners: how it says that something is wrong, how it writes moments, which fields it reads.

Everything wrong is `{"error": "<sentence>"}`, as its current version has it; what its login guard and older versions
said as plain text is JSON here as well. A value that cannot be is a 400 there and not our 422, which is left for bodies
whose fields are missing or of another type. Unknown fields are ignored.
Read next: `table.py`, for the endpoints.
"""

from datetime import datetime
from functools import wraps
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Handle
from mrproxy.control.api.problem import Problem
from mrproxy.control.api.serving import PASSWORD_DUE
from mrproxy.control.signin.llmlb_auth import word_flat
from mrproxy.storage.people.errors import Invalid, NotAllowed

Text = Annotated[str, Meta(max_length=4096)]
# Of a query: all of them together fit into a request's head.
Named = Annotated[str, Meta(max_length=128)]
Part = Annotated[str, Meta(max_length=200)]
Word = Annotated[str, Meta(max_length=40)]
Moment = Annotated[datetime, Meta(tz=True)]

# What its pages look for before they show the form for a new password.
PASSWORD_CHANGE_REQUIRED = b'{"error":"password_change_required"}'


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A body or a query of theirs."""


def word(problem: Problem, request_id: str) -> tuple[bytes, str]:
    """A `Word`."""
    if problem.code == "forbidden" and problem.detail == PASSWORD_DUE:
        return PASSWORD_CHANGE_REQUIRED, "application/json"
    return word_flat(problem, request_id)


def theirs(handler: Handle) -> Handle:
    """The same handler, with 400 for whatever cannot be done as it was asked."""

    @wraps(handler)
    async def asked(call: Call[Any, Any]) -> Answer:
        try:
            return await handler(call)
        except (Invalid, NotAllowed) as exc:
            raise bad_request(str(exc)) from exc
        except Problem as problem:
            if problem.code != "invalid":
                raise
            raise bad_request(problem.detail) from problem

    return asked


def bad_request(sentence: str) -> Problem:
    return Problem("malformed", sentence[:1].upper() + sentence[1:])


def not_found(what: str) -> Problem:
    return Problem("not-found", f"{what} not found")


def moment_in(text: str | None, field: str) -> float | None:
    """Seconds since 1970 of an RFC 3339 moment. Raises Problem."""
    if text is None or not text:
        return None
    try:
        return msgspec.convert(text, Moment).timestamp()
    except (msgspec.ValidationError, OverflowError, ValueError):
        raise bad_request(f"Invalid {field} format") from None
