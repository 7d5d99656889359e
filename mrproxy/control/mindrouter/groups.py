"""Shell. `/api/admin/groups`: what members are allowed, in MindRouter's words.

`token_budget` 0 is no budget. A new one is for a month (there: for 30 days that roll); a group that has one keeps its
period. Groups of the configuration are listed behind those of the database, unless these have the name as well.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin import groups as own
from mrproxy.control.admin.groups import GroupChanges, GroupWanted
from mrproxy.control.admin.shapes import LimitChanges, LimitFields, configured_problem
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.mindrouter.values import (
    Done,
    Name,
    Short,
    Text,
    changes_in,
    configured_number,
    not_found,
    number_in,
)
from mrproxy.control.permissions import Permission
from mrproxy.link.snapshot import GroupSpec
from mrproxy.storage.people import groups
from mrproxy.storage.people.values import Group, GroupFilter

MOST_LISTED = 1000

Budget = Annotated[int, Meta(ge=0, le=2**63 - 1)]
PerMinute = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Weight = Annotated[int, Meta(ge=1, le=1_000_000)]


class GroupShown(msgspec.Struct, frozen=True, kw_only=True):
    """`rpm_limit` null: unlimited, which cannot be said there."""

    id: int
    name: str
    display_name: str
    description: str
    token_budget: int
    rpm_limit: int | None
    scheduler_weight: int
    is_admin: bool
    is_auditor: bool
    user_count: int


class GroupsShown(msgspec.Struct, frozen=True, kw_only=True):
    groups: list[GroupShown]


class GroupMade(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    display_name: str


class NewGroupWanted(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are MindRouter's."""

    name: Name
    display_name: Annotated[str, Meta(min_length=1, max_length=200)]
    description: Text | None = None
    token_budget: Budget = 100_000
    rpm_limit: PerMinute = 30
    scheduler_weight: Weight = 1
    is_admin: bool = False
    is_auditor: bool = False


class GroupPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What is not named stays."""

    display_name: Short | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    token_budget: Budget | UnsetType = UNSET
    rpm_limit: PerMinute | UnsetType | None = UNSET
    scheduler_weight: Weight | UnsetType = UNSET
    is_admin: bool | UnsetType = UNSET
    is_auditor: bool | UnsetType = UNSET


async def list_groups(call: Call[None, None]) -> Answer:
    """List groups and how many users each has."""
    rows, counts = await call.read(read_groups)
    names = {each.name for each in rows}
    configured = [show_configured(each) for each in call.plane.configured().groups if each.name not in names]
    return Answer(value=GroupsShown(groups=[*(shown(each, counts.get(each.id, 0)) for each in rows), *configured]))


async def create_group(call: Call[NewGroupWanted, None]) -> Answer:
    """Make a group."""
    wanted = call.request
    limits = LimitFields(
        token_budget=wanted.token_budget or None, budget_period="monthly", requests_per_minute=wanted.rpm_limit
    )
    new = GroupWanted(
        name=wanted.name,
        display_name=wanted.display_name,
        description=wanted.description or "",
        weight=wanted.scheduler_weight,
        is_admin=wanted.is_admin,
        is_auditor=wanted.is_auditor,
        limits=limits,
    )
    made = await call.transact(own.write_new, call.actor, new, call.now_utc)
    return Answer(value=GroupMade(id=made.id, name=made.name, display_name=made.display_name))


async def change_group(call: Call[GroupPatch, None]) -> Answer:
    """Change a group."""
    changes = changes_in(call.request)
    found = await found_group(call)
    await call.transact(write_changes, call.actor, found.id, changes, call.version, call.now_utc)
    return Answer(value=Done(status="updated", group_id=found.id))


async def delete_group(call: Call[None, None]) -> Answer:
    """Delete a group that nobody is in."""
    found = await found_group(call)
    await call.transact(own.write_removal, call.actor, found.id, call.version, call.now_utc)
    return Answer(value=Done(status="deleted", group_id=found.id))


async def found_group(call: Call[Any, Any]) -> Group:
    """Of the database. Raises Problem for one of the configuration."""
    number = number_in(call, "group_id")
    found = await call.read(groups.find_group, number)
    if found is not None:
        return found
    for spec in call.plane.configured().groups:
        if configured_number(spec.name) == number:
            raise configured_problem("group", spec.name)
    raise not_found("Group")


async def read_groups(connection: AsyncConnection) -> tuple[list[Group], dict[int, int]]:
    page = await groups.list_groups(connection, GroupFilter(), None, MOST_LISTED)
    return list(page.rows), await groups.count_members(connection)


async def write_changes(
    connection: AsyncConnection,
    actor: Actor,
    row: int,
    changes: dict[str, Any],
    version: int | None,
    now_utc: float,
) -> Group:
    before = await groups.get_group(connection, row)
    return await own.write_changes(connection, actor, row, patch_of(changes, before), version, now_utc)


def patch_of(changes: dict[str, Any], before: Group) -> GroupChanges:
    """In our words."""
    limits: dict[str, Any] = {}
    if "token_budget" in changes:
        limits["token_budget"] = changes["token_budget"] or None
        if before.limits.token_budget is None:
            limits["budget_period"] = "monthly"
    if "rpm_limit" in changes:
        limits["requests_per_minute"] = changes["rpm_limit"]
    same: dict[str, Any] = {
        name: changes[name] for name in ("display_name", "is_admin", "is_auditor") if name in changes
    }
    if "description" in changes:
        same["description"] = changes["description"] or ""
    if "scheduler_weight" in changes:
        same["weight"] = changes["scheduler_weight"]
    return GroupChanges(**same, limits=LimitChanges(**limits) if limits else UNSET)


def shown(group: Group, user_count: int) -> GroupShown:
    return GroupShown(
        id=group.id,
        name=group.name,
        display_name=group.display_name or group.name,
        description=group.description,
        token_budget=group.limits.token_budget or 0,
        rpm_limit=group.limits.requests_per_minute,
        scheduler_weight=group.weight,
        is_admin=group.is_admin,
        is_auditor=group.is_auditor,
        user_count=user_count,
    )


def show_configured(group: GroupSpec) -> GroupShown:
    """Who is in it stands in the configuration, too, and is not counted."""
    return GroupShown(
        id=configured_number(group.name),
        name=group.name,
        display_name=group.name,
        description="",
        token_budget=group.limits.token_budget or 0,
        rpm_limit=group.limits.requests_per_minute,
        scheduler_weight=group.weight,
        is_admin=group.name == "admin",
        is_auditor=group.name == "auditor",
        user_count=0,
    )


P = Permission
TAG = "MindRouter: groups"
ENDPOINTS = (
    Endpoint("GET", "/groups", P.GROUPS_READ, list_groups, answer=GroupsShown, tag=TAG),
    Endpoint("POST", "/groups", P.GROUPS_WRITE, create_group, NewGroupWanted, answer=GroupMade, tag=TAG),
    Endpoint("PATCH", "/groups/{group_id}", P.GROUPS_WRITE, change_group, GroupPatch, answer=Done, tag=TAG),
    Endpoint("DELETE", "/groups/{group_id}", P.GROUPS_WRITE, delete_group, answer=Done, tag=TAG),
)
