"""Pure. What is wrong, as FastAPI says it: `{"detail": "<sentence>"}`, and for values that cannot be (422) a list of
`{"loc": ["body", "name"], "msg": …, "type": …}`.

Source: https://fastapi.tiangolo.com/tutorial/handling-errors/ (2025-11); the types are pydantic's, as far as a client
can tell them apart here: `missing` and `value_error`.
"""

import msgspec

from mrproxy.control.api.problem import Detail, Problem

JSON = "application/json"
MISSING = "Object missing required field"
# Where a pointer leads: into the body, to a parameter of the query, to an argument of the path.
PLACES = {"/": "body", "?": "query", ":": "path"}


class Violation(msgspec.Struct, frozen=True):
    loc: list[str | int]
    msg: str
    type: str


def word_detail(problem: Problem, _: str) -> tuple[bytes, str]:
    """A `Word`."""
    detail: object = problem.detail
    if problem.code == "invalid":
        detail = [violation(each) for each in problem.errors or (Detail("", problem.detail),)]
    return msgspec.json.encode({"detail": detail}), JSON


def violation(wrong: Detail) -> Violation:
    kind = "missing" if wrong.detail.startswith(MISSING) else "value_error"
    return Violation(place_of(wrong.pointer), wrong.detail, kind)


def place_of(pointer: str) -> list[str | int]:
    """`/a/0` → body, a, 0; `?limit` → query, limit; `:user_id` → path, user_id."""
    if not pointer:
        return ["body"]
    steps = pointer[1:].split("/")
    plain = [step.replace("~1", "/").replace("~0", "~") for step in steps]
    return [PLACES.get(pointer[0], "body"), *(int(step) if is_index(step) else step for step in plain)]


def is_index(step: str) -> bool:
    return step.isascii() and step.isdigit() and len(step) < 10
