"""Pure. Between values and columns: limits stand in five columns, lists of names in JSON.

Read next: `checks.py`, through which everything passes on its way in.
"""

from collections.abc import Mapping
from functools import lru_cache

import msgspec
from sqlalchemy import RowMapping

from mrproxy.link.snapshot import Limits
from mrproxy.storage.people.checks import LIMIT_CHECKS, Check
from mrproxy.storage.people.errors import Invalid

LIMITS = Limits.__struct_fields__
# None in JSON is null in the column: a list that is not there and an empty one are not the same.
LISTS = ("models", "addresses", "scopes")


def limit_checks(prefix: str = "") -> dict[str, Check]:
    return {f"{prefix}{name}": check for name, check in LIMIT_CHECKS.items()}


def limits_of(row: RowMapping, prefix: str = "") -> Limits:
    return Limits(*(row[f"{prefix}{name}"] for name in LIMITS))


def columns_of(limits: Limits, prefix: str = "") -> dict[str, object]:
    return {f"{prefix}{name}": getattr(limits, name) for name in LIMITS}


def flattened(values: Mapping[str, object]) -> dict[str, object]:
    """`limits` and `shared` as their columns."""
    flat: dict[str, object] = {}
    for field, value in values.items():
        if field in ("limits", "shared"):
            flat |= columns_of(as_limits(field, value), "shared_" if field == "shared" else "")
        else:
            flat[field] = value
    return flat


def as_limits(field: str, value: object) -> Limits:
    try:
        return msgspec.convert(value, Limits, from_attributes=True)
    except msgspec.ValidationError as exc:
        raise Invalid(field, f"cannot be: {exc}") from exc


def packed(values: Mapping[str, object]) -> dict[str, object]:
    """Lists as their columns have them."""
    return {field: pack(value) if field in LISTS else value for field, value in values.items()}


def pack(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


@lru_cache(maxsize=4096)  # a hundred thousand keys have a handful of lists
def unpack(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else msgspec.json.decode(text, type=tuple[str, ...])
