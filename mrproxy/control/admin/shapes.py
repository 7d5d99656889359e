"""Pure. What entities have in common in our own API: limits, moments, changes, and where an entity comes from.

Moments are RFC 3339 in UTC, ids are text, amounts are whole numbers of tokens. A PATCH is a JSON merge patch
(RFC 7396): what is not named stays, null takes away, limits are merged one by one.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mrproxy.control.api.actor import Actor
from mrproxy.control.api.problem import Problem
from mrproxy.link.snapshot import Limits

T = TypeVar("T")

Source = Literal["configuration", "managed"]
CONFIGURATION: Source = "configuration"
MANAGED: Source = "managed"
Period = Literal["lifetime", "monthly"]

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Short = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=10_000)]
Amount = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Weight = Annotated[int, Meta(ge=1, le=1_000_000)]
Days = Annotated[int, Meta(ge=1, le=36_500)]
Models = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=512)], ...], Meta(max_length=1000)]
Moment = Annotated[datetime, Meta(tz=True)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body of ours: what is misspelt is refused, not left out."""


class LimitFields(Wanted, frozen=True, kw_only=True):
    """Null is unlimited, or for a user and a key: what stands above it. A budget is monthly (UTC) or for a lifetime."""

    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    concurrent_requests: Amount | None = None
    token_budget: Amount | None = None
    budget_period: Period = "lifetime"


class LimitChanges(Wanted, frozen=True, kw_only=True):
    """What is not named stays."""

    requests_per_minute: Amount | UnsetType | None = UNSET
    tokens_per_minute: Amount | UnsetType | None = UNSET
    concurrent_requests: Amount | UnsetType | None = UNSET
    token_budget: Amount | UnsetType | None = UNSET
    budget_period: Period | UnsetType = UNSET


class Empty(Wanted, frozen=True, kw_only=True):
    """A body without content."""


def limits_shown(limits: Limits) -> LimitFields:
    return msgspec.convert(limits, LimitFields, from_attributes=True)


def limits_wanted(limits: LimitFields) -> Limits:
    return Limits(**msgspec.structs.asdict(limits))


def moment(utc: float | None) -> datetime | None:
    return None if utc is None else at(utc)


def at(utc: float) -> datetime:
    """To the millisecond: more is noise."""
    return datetime.fromtimestamp(round(utc, 3), UTC)


def seconds_of(wanted: datetime | None) -> float | None:
    return None if wanted is None else wanted.timestamp()


def changes_of(patch: Wanted) -> dict[str, object]:
    """What a patch names, as storage wants it. Raises Problem when it names nothing."""
    changes: dict[str, object] = {}
    for name in patch.__struct_fields__:
        value = getattr(patch, name)
        match value:
            case UnsetType():
                pass
            case LimitChanges():
                prefix = "shared_" if name == "shared" else ""
                changes |= {f"{prefix}{field}": each for field, each in named(value).items()}
            case datetime():
                changes[name] = value.timestamp()
            case _:
                changes[name] = value
    if not changes:
        raise Problem("invalid", "Name at least one field to be changed.")
    return changes


def named(patch: Wanted) -> dict[str, object]:
    """The fields that a patch names."""
    return {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}


def fields_of(value: msgspec.Struct, kind: type[T]) -> dict[str, Any]:
    """Those fields of `value` that `kind` has as well."""
    wanted = getattr(kind, "__struct_fields__", ())
    return {name: getattr(value, name) for name in value.__struct_fields__ if name in wanted}


def must_be(entity: T | None, kind: str, name: str) -> T:
    """Raises Problem."""
    if entity is None:
        raise Problem("not-found", f"There is no {kind} {name!r}.")
    return entity


def configured_problem(kind: str, name: str) -> Problem:
    """For whoever would change what stands in a file."""
    return Problem("configured", f"The {kind} {name!r} is set in the configuration; change it there and reload.")


def name_of(actor: Actor) -> str:
    """As the audit log and `created_by` have it."""
    return actor.name or actor.kind.value
