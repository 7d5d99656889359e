"""Pure. What storage raises, as problems. Whatever is not in here is a bug of ours, and a 500.

A violated constraint that no function foresaw means that somebody else wrote the same at the same moment.
"""

from sqlalchemy.exc import IntegrityError

from mrproxy.control.api.problem import Detail, Problem
from mrproxy.link.snapshot import Limits
from mrproxy.storage.failures import DatabaseCorrupt, DatabaseError, DatabaseFull
from mrproxy.storage.people.errors import Changed, EntityError, Invalid, NotFound, Taken

# Until a server is back that restarts; until somebody has made room or restored a backup.
SOON_SECONDS, LATER_SECONDS = 5, 60

STORAGE_ERRORS = (DatabaseError, EntityError, IntegrityError)


def problem_of(exc: DatabaseError | EntityError | IntegrityError, *, is_conditional: bool) -> Problem:
    """`is_conditional`: the caller had named a version."""
    match exc:
        case DatabaseError():
            later = isinstance(exc, DatabaseFull | DatabaseCorrupt)
            return Problem("database", sentence(exc), retry_seconds=LATER_SECONDS if later else SOON_SECONDS)
        case IntegrityError():
            return Problem("conflict", "Somebody else has written the same at the same time.")
        case NotFound():
            return Problem("not-found", sentence(exc))
        case Changed():
            return Problem("changed" if is_conditional else "conflict", sentence(exc))
        case Taken():
            return Problem("conflict", sentence(exc), errors=(Detail(pointer_to(exc.field), "is taken"),))
        case Invalid():
            return Problem("invalid", sentence(exc), errors=(Detail(pointer_to(exc.field), exc.reason),))
        case _:
            return Problem("conflict", sentence(exc))


def pointer_to(field: str) -> str:
    """Storage has limits beside the other fields, bodies have them in an object of their own."""
    limit = field.removeprefix("shared_")
    if limit not in Limits.__struct_fields__:
        return f"/{field}"
    return f"/limits/{field}" if limit == field else f"/shared/{limit}"


def sentence(exc: Exception) -> str:
    """Begins with a capital and ends with a full stop."""
    text = str(exc)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
