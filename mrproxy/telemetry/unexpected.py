"""Pure. What a log says of an exception that nobody expected: never a traceback, whose lines may quote a secret."""

from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_MAX_REASON_CHARACTERS = 300
_MAX_PLACES = 6


class Unexpected(NamedTuple):
    """`line` is the innermost place, `file.py:12`; `way` the innermost few, outermost first."""

    kind: str
    reason: str
    line: str
    way: str


def describe(error: BaseException) -> Unexpected:
    """Of a group, its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    places = _places(error.__traceback__)
    line = places[-1] if places else ""
    return Unexpected(
        type(error).__name__, str(error)[:_MAX_REASON_CHARACTERS], line, " > ".join(places[-_MAX_PLACES:])
    )


def _places(traceback: TracebackType | None) -> list[str]:
    places = []
    while traceback is not None:
        places.append(f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return places
